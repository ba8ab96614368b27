"""Convolutional maxout network (C5)."""
import keras

import layers
from apps.classification import blocks, classifier
from training import UserError

MONITOR = ("accuracy", "max")
INPUT_DROPOUT = 0.2
LARGEST_NORM = 1.9365
"""of the weights into a unit"""
_LARGEST_FIRST_NORM = 0.9
_SMALLEST = 16
"""side of an image, in pixels, of which a place is left after the pools"""


def build_model(config, spec):
    """Returns a compiled network of three convolutional maxout layers, with dropout before every layer.

    They have 8x8, 8x8 and 5x5 kernels with `width`, `width` and half as many maps, of which the last ones have twice as many
    pieces, and pools of 4, 4 and 2 places with stride 2: of 28 pixels 10, 4 and 3 places are left. The norm of the weights
    into every unit is bounded, those of the classes too. Pixels are from 0 to 1, so that dropout at the input blackens.

    Source: Goodfellow et al., 2013, "Maxout Networks", section 5.1 (MNIST), and the settings published with its code.
    What differs: Adam with a falling rate, not a large one that hardly falls for hundreds of epochs; what dropout keeps of the
    input is scaled too; initial weights reach to 0.03, not to 0.005, but for the classes; a black margin of a pixel stands for
    pools that reach over the edge.

    Raises:
        UserError: images of less than 16 pixels.
    """
    if config.image_size < _SMALLEST:
        raise UserError(f"maxout takes images of {_SMALLEST} pixels or more, not --image-size {config.image_size}")
    return compiled(config, spec, network)


def compiled(config, spec, network):
    """Returns a compiled classifier on pixels from 0 to 1, whose last layer is bounded as the maxout layers are.

    network: (Keras tensor of images, config) -> Keras tensor (batch, features)
    """
    scale = keras.layers.Rescaling(1 / 255, dtype="float32", name="scale")
    return classifier.build(
        config, spec, lambda images: network(images, config), scale,
        kernel_initializer=keras.initializers.RandomUniform(-0.005, 0.005),
        kernel_constraint=keras.constraints.MaxNorm(LARGEST_NORM))


def network(images, config):
    """Returns the last maxout layer as (batch, features); images: (batch, side, side, channels)."""
    parts = blocks.Blocks(config)
    x = parts.dropout(images, "input_dropout", INPUT_DROPOUT if config.dropout else 0.0)
    half = max(1, config.width // 2)
    x = keras.layers.ZeroPadding2D(((0, 1), (0, 1)), name="margin1")(x)
    for number, (maps, kernel, pieces, pool, largest) in enumerate([
            (config.width, 8, config.pieces, 4, _LARGEST_FIRST_NORM), (config.width, 8, config.pieces, 4, LARGEST_NORM),
            (half, 5, 2 * config.pieces, 2, LARGEST_NORM)], 1):
        if number == 3:
            x = keras.layers.ZeroPadding2D(1, name="margin3")(x)
        x = layers.MaxoutConv2D(
            maps, kernel, pieces, padding="valid" if number == 1 else "same", kernel_initializer=parts.initializer(),
            kernel_constraint=keras.constraints.MaxNorm(largest, axis=(0, 1, 2)), name=f"maxout{number}")(x)
        x = keras.layers.MaxPooling2D(pool, 2, name=f"pool{number}")(x)
        x = parts.dropout(x, f"dropout{number}")
    return keras.layers.Flatten()(x)
