"""Report faults and events, read strict YAML, and watch over memory, threads and noisy libraries."""
