"""Structured pruning: how important each unit is, which to keep, and cutting the rest out."""
