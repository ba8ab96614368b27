"""VGG-16 (C3)."""
import keras

from apps.classification import blocks, classifier

MONITOR = ("accuracy", "max")
STAGES = (2, 2, 3, 3, 3)
"""convolutions before each pool"""


def build_model(config, spec):
    """Returns a compiled VGG-16: thirteen 3x3 convolutions in five stages, two fully connected layers.

    With `full_size` the paper's configuration D: 64 to 512 maps and 4,096 units, for images of 224 pixels; 138,357,544 weights
    with 1,000 classes and without normalisation. Otherwise `width` maps in the first stage and eight times as many units.

    Source: Simonyan and Zisserman, 2015, "Very Deep Convolutional Networks for Large-Scale Image Recognition", table 1.
    What differs: batch normalisation is a choice, which trains from random weights, where the paper begins with those of a
    shallower network; odd maps are pooled with what is there.
    """
    return classifier.build(config, spec, lambda images: network(images, config))


def network(images, config):
    """Returns the second fully connected layer; images: (batch, side, side, channels)."""
    parts = blocks.Blocks(config)
    width, units = (64, 4096) if config.full_size else (config.width, 8 * config.width)
    x = images
    for stage, count in enumerate(STAGES):
        for place in range(count):
            x = parts.convolution(x, width * min(2 ** stage, 8), 3, 1, f"stage{stage + 1}_convolution{place + 1}")
        x = keras.layers.MaxPooling2D(2, padding="same", name=f"stage{stage + 1}_pool")(x)
    x = keras.layers.Flatten()(x)
    x = parts.dropout(parts.dense(x, units, "full1"), "dropout1")
    return parts.dropout(parts.dense(x, units, "full2"), "dropout2")
