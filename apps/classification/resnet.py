"""Residual networks (C4)."""
import keras

from apps.classification import classifier
from apps.classification.blocks import Blocks
from layers import backbones


def build_model(config, spec, steps):
    """Returns a compiled residual network."""
    return classifier.compiled(config, spec, steps, network)


def network(images, *, full_size=False, width=16, blocks=3, activation="relu", normalization="batch", dropout=0.0,
            dropout_scaling="inverted", initializer="he"):
    """Returns the features of a residual network: the spatial mean of its last maps, (batch, channels).

    With `full_size`, it is ResNet-50 for images of 224 pixels: 25,557,032 weights with 1,000 classes. Otherwise it is the
    paper's network for CIFAR-10: a 3x3 convolution and three stages of `blocks` blocks with `width`, twice and four times as
    many channels; 3 blocks of 16 channels are ResNet-20.

    images:    Keras tensor of scaled images, (batch, side, side, channels)
    full_size: whether it is ResNet-50, with `width` and `blocks` of the paper
    width:     channels of the first stage
    blocks:    residual blocks per stage
    activation, normalization, dropout, dropout_scaling, initializer: see `Blocks`

    Example:
        >>> import keras
        >>> from apps.classification import resnet
        >>> resnet.network(keras.Input((32, 32, 3)), width=4, blocks=1).shape
        (None, 16)

    Source: He et al., 2016, "Deep Residual Learning for Image Recognition", table 1 and section 4.2.
    What differs: ResNet-50's stride is in the 3x3 convolution of a block ("v1.5"); where the number of channels changes, the
    shortcut is a 1x1 convolution, also in the small network.
    """
    parts = Blocks(activation=activation, normalization=normalization, dropout=dropout, dropout_scaling=dropout_scaling,
                   initializer=initializer)
    maps = backbones.resnet50(images, parts) if full_size else backbones.cifar_resnet(images, width, blocks, parts)
    x = keras.layers.GlobalAveragePooling2D(name="mean", dtype="float32")(maps[-1])
    return parts.dropout(x, "dropout")
