"""Describe packages for those who receive them, and sign them: bill of materials, provenance, signatures."""
