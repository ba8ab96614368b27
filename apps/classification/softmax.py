"""Softmax regression on pixels: the baseline."""
import keras

from apps.classification import classifier


def build_model(config, spec, steps):
    """Returns a compiled classifier whose logits are an affine function of the pixels."""
    return classifier.compiled(config, spec, steps, network)


def network(images):
    """Returns the pixels themselves as features, (batch, features).

    images: Keras tensor of scaled images, (batch, side, side, channels)

    Example:
        >>> import keras
        >>> from apps.classification import softmax
        >>> softmax.network(keras.Input((8, 8, 1))).shape
        (None, 64)
    """
    return keras.layers.Flatten()(images)
