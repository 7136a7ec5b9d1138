"""Train and distil a checkpoint, and resume a training that was killed."""
