"""Data sets by name, pipelines, and the description of the data that a model needs."""
