"""Hold the stages that a plan is made of, one file for each stage."""
