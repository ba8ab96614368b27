"""Both tasks at once (C10)."""
from apps.transfer import network, pretraining

MONITOR = ("accuracy", "max")


def build_model(config, spec):
    """Returns a compiled network with one trunk and a classifier for each task, trained on both by the sum of their losses.

        loss = mean over the target's images of cross_entropy(label) + mean over the source's of cross_entropy(source_label)

    Source: Caruana, 1997, "Multitask Learning", section 2: hidden layers that all tasks share.
    What differs: an image is of one task only, so that each loss is over its own images; in a batch both tasks have as many. An
    epoch passes over the larger of both sets.
    """
    return network.build(config, spec)


def initialize(model, config, folder):
    """Gives a trunk that is no small one its weights; the small one learns both tasks from random weights."""
    if config.trunk != "small":
        pretraining.initialize(model, config, folder)
