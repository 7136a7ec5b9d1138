"""What packages carry: files copied into them as they are."""
