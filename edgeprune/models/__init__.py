"""Resolve model references, know where each architecture keeps its parts, and load and save checkpoints."""
