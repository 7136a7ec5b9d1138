"""Describe what a build made and measured: as a document, in a sentence, and as a page to read."""
