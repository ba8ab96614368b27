"""Pretrained weights, of which all go on learning (C9)."""
from apps.transfer import network
from apps.transfer.pretraining import initialize  # noqa: F401  a part of this module's contract

MONITOR = ("accuracy", "max")


def build_model(config, spec):
    """Returns a compiled classifier on a pretrained trunk that learns from there, at a lower rate than from random weights.

    Source: Yosinski et al., 2014, "How transferable are features in deep neural networks?", section 2, fine-tuning ("+"), with
    all layers transferred.
    What differs: the network (see `trunks`), and the rate, which the paper leaves as it was.
    """
    return network.build(config, spec)
