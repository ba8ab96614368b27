"""Maxout networks (C5)."""
import keras

import layers
from apps.classification import blocks, classifier

MONITOR = ("accuracy", "max")
_INPUT_DROPOUT = 0.2
_LARGEST_NORM, _LARGEST_FIRST_NORM = 1.9365, 0.9
"""of the weights into a unit"""
_DENSE = 240, 5
"""units and pieces of a fully connected layer"""


def build_model(config, spec):
    """Returns a compiled maxout network: every layer is maxout, and dropout is before every layer.

    Convolutional: three layers of 8x8, 8x8 and 5x5 kernels with `width`, `width` and half as many maps, and pools of 4, 4 and 2
    places with stride 2. Else two fully connected layers of 240 units of 5 pieces. The norm of weights into a unit is bounded.

    Source: Goodfellow et al., 2013, "Maxout Networks", section 5.1 (MNIST), and the settings published with its code.
    What differs: Adam with a falling rate; the last layer has as many pieces as the others, not twice as many.
    """
    return classifier.build(config, spec, lambda images: network(images, config))


def network(images, config):
    """Returns the last maxout layer as (batch, features); images: (batch, side, side, channels)."""
    parts = blocks.Blocks(config)
    x = parts.dropout(images, "input_dropout", _INPUT_DROPOUT if config.dropout else 0.0)
    if not config.convolutional:
        x = keras.layers.Flatten()(x)
        for number in (1, 2):
            x = layers.Maxout(_DENSE[0], _DENSE[1], kernel_initializer=parts.initializer(),
                              kernel_constraint=keras.constraints.MaxNorm(_LARGEST_NORM), name=f"maxout{number}")(x)
            x = parts.dropout(x, f"dropout{number}")
        return x
    for number, (share, kernel, pool, largest) in enumerate(
            [(1.0, 8, 4, _LARGEST_FIRST_NORM), (1.0, 8, 4, _LARGEST_NORM), (0.5, 5, 2, _LARGEST_NORM)], 1):
        x = layers.MaxoutConv2D(
            max(1, round(config.width * share)), kernel, config.pieces, padding="valid" if number == 1 else "same",
            kernel_initializer=parts.initializer(), kernel_constraint=keras.constraints.MaxNorm(largest, axis=(0, 1, 2)),
            name=f"maxout{number}")(x)
        x = keras.layers.MaxPooling2D(pool, 2, padding="same", name=f"pool{number}")(x)
        x = parts.dropout(x, f"dropout{number}")
    return keras.layers.Flatten()(x)
