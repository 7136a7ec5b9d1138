"""Run edgeprune from the command line. Each file has a group of commands, or a part of what commands share."""
