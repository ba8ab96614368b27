"""A classifier on pretrained features (C9)."""
from apps.transfer import network


def build_model(config, spec, steps):
    """Returns a compiled classifier on a frozen pretrained backbone.

    Example:
        >>> from apps.transfer import backbone, network
        >>> model = network.classifier(backbone.small((16, 16, 1), width=4, blocks=1), {"label": 5}, learning=0)
        >>> [weight.path for weight in model.trainable_weights]
        ['label/kernel', 'label/bias']

    Source: Yosinski et al., 2014, "How transferable are features in deep neural networks?", section 2, with all layers but the
    last one frozen.
    """
    return network.build(config, spec, steps, learning=0)
