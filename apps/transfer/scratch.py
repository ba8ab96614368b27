"""The same network from random weights: the baseline (C9)."""
from apps.transfer import network


def build_model(config, spec, steps):
    """Returns a compiled classifier on a backbone with random weights, whatever `--backbone` is.

    Example:
        >>> import numpy as np
        >>> from apps.transfer import backbone, network
        >>> model = network.classifier(backbone.small((16, 16, 1), width=4, blocks=1), {"label": 5})
        >>> model({"image": np.zeros((2, 16, 16, 1), "uint8")})["label"].shape
        TensorShape([2, 5])
    """
    return network.build(config, spec, steps)
