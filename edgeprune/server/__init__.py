"""Answer a package's inputs over HTTP: what `edgeprune serve` runs.

This room needs the extra `serve` (FastAPI, uvicorn, prometheus-client). Only `cli/` imports it.
"""
