"""Choose what to remove from a model, and remove it. Each method has its own file; `methods` is the closed table."""
