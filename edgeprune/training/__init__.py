"""Train and distil a checkpoint, and go on after a kill."""
