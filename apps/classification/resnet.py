"""Residual networks (C4)."""
import keras

from apps.classification import blocks, classifier
from layers import backbones

MONITOR = ("accuracy", "max")


def build_model(config, spec):
    """Returns a compiled residual network.

    With `full_size` ResNet-50 for images of 224 pixels: 25,557,032 weights with 1,000 classes. Otherwise the paper's network for
    CIFAR-10: a 3x3 convolution and three stages of `blocks` blocks with `width`, twice and four times as many maps; 3 blocks
    of 16 maps are ResNet-20.

    Source: He et al., 2016, "Deep Residual Learning for Image Recognition", table 1 and section 4.2.
    What differs: ResNet-50's stride is in the 3x3 convolution of a block ("v1.5"); where the number of maps changes the
    shortcut is a 1x1 convolution, in the small network too.
    """
    return classifier.build(config, spec, lambda images: network(images, config))


def network(images, config):
    """Returns the mean over the last maps' places; images: (batch, side, side, channels)."""
    parts = blocks.Blocks(config)
    if config.full_size:
        maps = backbones.resnet50(images, parts)
    else:
        maps = backbones.cifar_resnet(images, config.width, config.blocks, parts)
    x = keras.layers.GlobalAveragePooling2D(name="mean", dtype="float32")(maps[-1])
    return parts.dropout(x, "dropout")
