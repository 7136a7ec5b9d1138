"""Say what a model is for: one file a task, and one closed table of them in `registry`."""
