"""The same network from random weights: the baseline (C9)."""
from apps.transfer import network

MONITOR = ("accuracy", "max")


def build_model(config, spec):
    """Returns a compiled classifier on a trunk with random weights, whatever `--trunk` is."""
    return network.build(config, spec)
