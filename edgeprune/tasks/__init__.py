"""Say what a model is for. Each task has its own file, and `registry` is the closed table of tasks."""
