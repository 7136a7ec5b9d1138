"""Pruning: what to remove from a model, and removing it. One file a method; `methods` is the closed table."""
