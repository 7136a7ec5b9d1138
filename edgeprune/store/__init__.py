"""Keep artifacts and packages whole: content addresses, manifests, digests, locks."""
