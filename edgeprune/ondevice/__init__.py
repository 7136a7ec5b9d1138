"""Hold the agent, which runs on devices, and the files that are copied into packages unchanged."""
