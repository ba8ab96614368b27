"""Pretrained weights, of which those of the last layers go on learning (C9)."""
from apps.transfer import network
from apps.transfer.pretraining import initialize  # noqa: F401  a part of this module's contract

MONITOR = ("accuracy", "max")


def build_model(config, spec):
    """Returns a compiled classifier on a pretrained trunk of which the last `higher` layers with kernels learn.

    Source: Yosinski et al., 2014, "How transferable are features in deep neural networks?", section 2: the first n layers are
    frozen.
    What differs: the layers above them begin with pretrained weights too, not with random ones.
    """
    return network.build(config, spec, config.higher)
