"""Multi-task learning (C10)."""
from apps.transfer import network


def build_model(config, spec, steps):
    """Returns a compiled network with one backbone and a classifier per task, trained on the sum of both losses.

        loss = mean over the target's images of cross_entropy(label) + mean over the source's of cross_entropy(source_label)

    Example:
        >>> import numpy as np
        >>> from apps.transfer import backbone, network
        >>> below = backbone.small((16, 16, 1), width=4, blocks=1)
        >>> logits = network.classifier(below, {"label": 5, "source_label": 7})({"image": np.zeros((2, 16, 16, 1), "uint8")})
        >>> logits["label"].shape, logits["source_label"].shape
        (TensorShape([2, 5]), TensorShape([2, 7]))

    Source: Caruana, 1997, "Multitask Learning", section 2: hidden layers that all tasks share. What differs: an image belongs
    to one task only, so each loss is over its own images; each batch has equally many images of both tasks. An epoch is a pass
    over the larger data set.
    """
    return network.build(config, spec, steps)
