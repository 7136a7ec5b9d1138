"""Places that packages are pushed to and pulled from: OCI registries, the Hugging Face hub, and folders."""
