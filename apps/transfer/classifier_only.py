"""A classifier on pretrained features (C9)."""
from apps.transfer import network
from apps.transfer.pretraining import initialize  # noqa: F401  a part of this module's contract

MONITOR = ("accuracy", "max")


def build_model(config, spec):
    """Returns a compiled classifier on a pretrained trunk that does not learn.

    Source: Yosinski et al., 2014, "How transferable are features in deep neural networks?", section 2, with all layers but the
    last one frozen.
    """
    return network.build(config, spec, 0)
