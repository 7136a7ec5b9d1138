"""The stages, one file each: what a plan is made of."""
