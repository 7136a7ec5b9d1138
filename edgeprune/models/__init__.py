"""Checkpoints: which architectures edgeprune knows, where a model reference points, loading and saving."""
