"""Fine-tuning of all layers (C9)."""
from apps.transfer import network


def build_model(config, spec, steps):
    """Returns a compiled classifier on a pretrained backbone, which is fine-tuned at a lower rate than from random weights.

    Example:
        >>> import numpy as np
        >>> from apps.transfer import backbone, network
        >>> model = network.classifier(backbone.small((16, 16, 1), width=4, blocks=1), {"label": 5})
        >>> model({"image": np.zeros((2, 16, 16, 1), "uint8")})["label"].shape
        TensorShape([2, 5])

    Source: Yosinski et al., 2014, "How transferable are features in deep neural networks?", section 2, fine-tuning ("+"), with
    all layers transferred.
    What differs: the network (see `backbone`), and the learning rate, which the paper keeps.
    """
    return network.build(config, spec, steps)
