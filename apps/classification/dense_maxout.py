"""Fully connected maxout network (C5)."""
import keras

import layers
from apps.classification import maxout
from apps.classification.blocks import Blocks


def build_model(config, spec, steps):
    """Returns a compiled network of two maxout layers; the norm of the output weights is bounded too."""
    return maxout.compiled(config, spec, steps, network)


def network(images, *, width=240, pieces=5, dropout=0.5, dropout_scaling="inverted", initializer="uniform"):
    """Returns the last of two fully connected maxout layers, (batch, width), with dropout before every layer.

    The norm of the incoming weights of every unit is bounded, including the output units. Pixels are from 0 to 1, so dropout
    turns inputs black.

    images: Keras tensor of images from 0 to 1, (batch, side, side, channels)
    width:  units of each layer
    pieces: affine functions over which each unit takes the maximum
    dropout, dropout_scaling, initializer: see `Blocks`; if dropout is used, the dropout rate of the pixels is 20 %

    Example:
        >>> import keras
        >>> from apps.classification import dense_maxout
        >>> dense_maxout.network(keras.Input((8, 8, 1)), width=16).shape
        (None, 16)

    Source: Goodfellow et al., 2013, "Maxout Networks", section 5.1 (MNIST, permutation invariant), and the settings published
    with its code. What differs: momentum is 0.9, and the learning rate has cosine decay from 0.025 to 0, whereas in the paper
    momentum rises from 0.5 to 0.7 and a rate of 0.1 hardly decays. Input dropout is scaled too; initial weights are within
    0.03 instead of 0.005, except for the output weights.
    """
    parts = Blocks(dropout=dropout, dropout_scaling=dropout_scaling, initializer=initializer)
    x = keras.layers.Flatten()(parts.dropout(images, "input_dropout", maxout.INPUT_DROPOUT if dropout else 0.0))
    for number in (1, 2):
        x = layers.Maxout(
            width, pieces, kernel_initializer=parts.initializer(),
            kernel_constraint=keras.constraints.MaxNorm(maxout.LARGEST_NORM), name=f"maxout{number}")(x)
        x = parts.dropout(x, f"dropout{number}")
    return x
