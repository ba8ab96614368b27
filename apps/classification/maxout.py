"""Convolutional maxout network (C5)."""
import keras

import layers
from apps.classification import classifier
from apps.classification.blocks import Blocks
from training import UserError

INPUT_DROPOUT = 0.2
"""dropout rate of the pixels, if dropout is used"""
LARGEST_NORM = 1.9365
"""largest norm of the incoming weights of a unit"""
_LARGEST_FIRST_NORM = 0.9
_SMALLEST = 16
"""side of an image, in pixels, of which a place is left after the pools"""


def build_model(config, spec, steps):
    """Returns a compiled network of three convolutional maxout layers.

    Raises:
        UserError: the images are smaller than 16 pixels.
    """
    if config.image_size < _SMALLEST:
        raise UserError(f"maxout needs images of at least {_SMALLEST} pixels, not --image-size {config.image_size}")
    return compiled(config, spec, steps, network)


def compiled(config, spec, steps, network):
    """Returns a compiled classifier on pixels from 0 to 1, with bounded output weights as in the maxout layers.

    config, spec, steps: as in `build_model`
    network:             function of a Keras tensor of images that returns features, (batch, features); its keyword arguments
                         are the settings of the same names
    """
    scale = keras.layers.Rescaling(1 / 255, dtype="float32", name="scale")
    return classifier.compiled(
        config, spec, steps, network, scale, kernel_initializer=keras.initializers.RandomUniform(-0.005, 0.005),
        kernel_constraint=keras.constraints.MaxNorm(LARGEST_NORM))


def network(images, *, width=48, pieces=2, dropout=0.5, dropout_scaling="inverted", initializer="uniform"):
    """Returns the last of three convolutional maxout layers as (batch, features), with dropout before every layer.

    The layers have 8x8, 8x8 and 5x5 kernels with `width`, `width` and half as many maps, where the last layer has twice as
    many pieces, and pooling of sizes 4, 4 and 2 with stride 2: 28 pixels become 10, 4 and 3. The norm of the incoming weights
    of every unit is bounded, including the output units. Pixels are from 0 to 1, so dropout turns inputs black.

    images: Keras tensor of images from 0 to 1, (batch, side, side, channels)
    width:  maps of the first and the second layer
    pieces: affine functions over which each unit takes the maximum
    dropout, dropout_scaling, initializer: see `Blocks`; if dropout is used, the dropout rate of the pixels is 20 %

    Example:
        >>> import keras
        >>> from apps.classification import maxout
        >>> maxout.network(keras.Input((28, 28, 1)), width=4).shape
        (None, 18)

    Source: Goodfellow et al., 2013, "Maxout Networks", section 5.1 (MNIST), and the settings published with its code.
    What differs: Adam with cosine decay, not a large learning rate that hardly decays for hundreds of epochs; input dropout is
    scaled too; initial weights are within 0.03 instead of 0.005, except for the output weights; one pixel of black padding
    replaces pooling beyond the edge.
    """
    parts = Blocks(dropout=dropout, dropout_scaling=dropout_scaling, initializer=initializer)
    x = parts.dropout(images, "input_dropout", INPUT_DROPOUT if dropout else 0.0)
    x = keras.layers.ZeroPadding2D(((0, 1), (0, 1)), name="margin1")(x)
    for number, (maps, kernel, count, pool, largest) in enumerate([
            (width, 8, pieces, 4, _LARGEST_FIRST_NORM), (width, 8, pieces, 4, LARGEST_NORM),
            (max(1, width // 2), 5, 2 * pieces, 2, LARGEST_NORM)], 1):
        if number == 3:
            x = keras.layers.ZeroPadding2D(1, name="margin3")(x)
        x = layers.MaxoutConv2D(
            maps, kernel, count, padding="valid" if number == 1 else "same", kernel_initializer=parts.initializer(),
            kernel_constraint=keras.constraints.MaxNorm(largest, axis=(0, 1, 2)), name=f"maxout{number}")(x)
        x = keras.layers.MaxPooling2D(pool, 2, name=f"pool{number}")(x)
        x = parts.dropout(x, f"dropout{number}")
    return keras.layers.Flatten()(x)
