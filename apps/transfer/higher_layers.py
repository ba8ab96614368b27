"""Fine-tuning of the last layers (C9)."""
from apps.transfer import network


def build_model(config, spec, steps):
    """Returns a compiled classifier on a pretrained backbone, in which the last `higher` layers with kernels are trained.

    Example:
        >>> import numpy as np
        >>> from apps.transfer import backbone, network
        >>> model = network.classifier(backbone.small((16, 16, 1), width=4, blocks=1), {"label": 5}, learning=1)
        >>> model({"image": np.zeros((2, 16, 16, 1), "uint8")})["label"].shape
        TensorShape([2, 5])
        >>> [weight.path for weight in model.trainable_weights if "kernel" in weight.path]
        ['stage3_block1_shortcut/kernel', 'label/kernel']

    Source: Yosinski et al., 2014, "How transferable are features in deep neural networks?", section 2: the first n layers are
    frozen.
    What differs: the layers above them start from pretrained weights too, not from random ones.
    """
    return network.build(config, spec, steps, learning=config.higher)
