"""AlexNet (C2)."""
import keras

from apps.classification import classifier
from apps.classification.blocks import Blocks
from training import UserError

_SMALLEST, _SMALLEST_FULL = 15, 67
"""smallest image side, in pixels, that the pooling layers allow, in the small network and in that of the paper"""


def build_model(config, spec, steps):
    """Returns a compiled AlexNet.

    Raises:
        UserError: the images are smaller than 15 pixels, or than 67 with `full_size`.
    """
    smallest = _SMALLEST_FULL if config.full_size else _SMALLEST
    if config.image_size < smallest:
        beside = " with --full-size True" if config.full_size else ""
        raise UserError(f"alexnet needs images of at least {smallest} pixels{beside}, not --image-size {config.image_size}")
    return classifier.compiled(config, spec, steps, network)


def network(images, *, full_size=False, width=24, activation="relu", normalization="local_response", dropout=0.5,
            dropout_scaling="inverted", initializer="he"):
    """Returns the second fully connected layer of AlexNet, which has five convolutions and three pooling layers before the
    first one.

    With `full_size`, it is the paper's network for images of 227 pixels: 96 maps 11x11 of stride 4, 256 5x5, 384, 384 and 256
    3x3, the second, fourth and fifth in two groups, then 4,096 and 4,096 units: 60,965,224 weights with 1,000 classes.
    Otherwise the first layer is 5x5 of stride 1, every layer has `width` / 96 of the paper's maps, and the units are ten times
    `width`.

    images:    Keras tensor of scaled images, (batch, side, side, channels)
    full_size: whether to use the size of the paper's network, in which `width` is 96
    width:     maps of the first layer
    activation, normalization, dropout, dropout_scaling, initializer: see `Blocks`

    Example:
        >>> import keras
        >>> from apps.classification import alexnet
        >>> alexnet.network(keras.Input((32, 32, 3)), width=6).shape
        (None, 60)

    Source: Krizhevsky et al., 2012, "ImageNet Classification with Deep Convolutional Neural Networks", sections 3 and 4.
    What differs: the groups are on one device; He initialization instead of a standard deviation of 0.01, and all biases start
    at 0, whereas some start at 1 in the paper; Adam with cosine decay instead of momentum; inverted dropout, which scales
    during training, whereas the paper halves the outputs in testing.
    """
    parts = Blocks(activation=activation, normalization=normalization, dropout=dropout, dropout_scaling=dropout_scaling,
                   initializer=initializer)
    width, units = (96, 4096) if full_size else (width, 10 * width)
    everywhere = normalization == "batch"  # the paper normalizes after the first two layers only

    def maps(share):
        return max(2, round(width * share / 96 / 2) * 2)

    if full_size:
        x = parts.convolution(images, maps(96), 11, 4, "convolution1", padding="valid", normalize=everywhere)
    else:
        x = parts.convolution(images, maps(96), 5, 1, "convolution1", normalize=everywhere)
    x = _pool(_after(parts, x, "convolution1"), "pool1")
    x = _grouped(parts, x, maps(256), 5, "convolution2", everywhere)
    x = _pool(_after(parts, x, "convolution2"), "pool2")
    x = parts.convolution(x, maps(384), 3, 1, "convolution3", normalize=everywhere)
    x = _grouped(parts, x, maps(384), 3, "convolution4", everywhere)
    x = _pool(_grouped(parts, x, maps(256), 3, "convolution5", everywhere), "pool5")
    x = keras.layers.Flatten()(x)
    x = parts.dropout(parts.dense(x, units, "full6"), "dropout6")
    return parts.dropout(parts.dense(x, units, "full7"), "dropout7")


def _after(parts, x, name):
    """Returns x normalized where that comes after the activation, which local response normalization does."""
    return parts.normalize(x, f"{name}_normalization") if parts.normalization == "local_response" else x


def _grouped(parts, x, filters, size, name, normalize):
    """Returns two convolutions, each of one half of the maps: TensorFlow has no gradient of a grouped one on processors."""
    halves = keras.ops.split(x, 2, axis=-1)
    return keras.layers.Concatenate(name=name)([
        parts.convolution(half, filters // 2, size, 1, f"{name}_group{number + 1}", normalize=normalize)
        for number, half in enumerate(halves)])


def _pool(x, name):
    return keras.layers.MaxPooling2D(3, 2, name=name)(x)
