"""The same network from random weights, the baseline (C9)."""
from apps.transfer import network


def build_model(config, spec, steps):
    """Returns a compiled classifier on a backbone with random weights, whatever `--backbone` is.

    Example:
        >>> from apps.transfer import backbone, network
        >>> network.classifier(backbone.small((16, 16, 1), width=4, blocks=1), {"label": 5}).output["label"].shape
        (None, 5)
    """
    return network.build(config, spec, steps)
