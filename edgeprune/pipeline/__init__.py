"""Turn a request into a plan, run its stages, and publish the package."""
