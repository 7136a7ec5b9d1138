"""Describe pipelines and targets: the models behind the YAML."""
