"""Applications: one per task, each run with `python -m apps.<task>`."""
