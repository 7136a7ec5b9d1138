"""Run edgeprune from the command line: one file a group of commands, and what they print."""
