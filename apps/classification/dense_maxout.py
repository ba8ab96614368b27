"""Fully connected maxout network (C5)."""
import keras

import layers
from apps.classification import blocks, maxout

MONITOR = ("accuracy", "max")


def build_model(config, spec):
    """Returns a compiled network of two maxout layers of `width` units of `pieces` pieces, with dropout before every layer.

    The norm of the weights into every unit is bounded, those of the classes too. Pixels are from 0 to 1, so that dropout at
    the input blackens.

    Source: Goodfellow et al., 2013, "Maxout Networks", section 5.1 (MNIST, permutation invariant), and the settings
    published with its code. What differs: momentum is 0.9 and the rate 0.025, which falls to 0 as a cosine; there momentum
    rises from 0.5 to 0.7, and a rate of 0.1 hardly falls. What dropout keeps of the input is scaled too; initial weights reach
    to 0.03, not to 0.005, but for the classes.
    """
    return maxout.compiled(config, spec, network)


def network(images, config):
    """Returns the last maxout layer as (batch, features); images: (batch, side, side, channels)."""
    parts = blocks.Blocks(config)
    x = keras.layers.Flatten()(parts.dropout(images, "input_dropout", maxout.INPUT_DROPOUT if config.dropout else 0.0))
    for number in (1, 2):
        x = layers.Maxout(
            config.width, config.pieces, kernel_initializer=parts.initializer(),
            kernel_constraint=keras.constraints.MaxNorm(maxout.LARGEST_NORM), name=f"maxout{number}")(x)
        x = parts.dropout(x, f"dropout{number}")
    return x
