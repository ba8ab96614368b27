"""VGG-16 (C3)."""
import keras

from apps.classification import classifier
from apps.classification.blocks import Blocks

STAGES = (2, 2, 3, 3, 3)
"""convolutions before each pooling layer"""


def build_model(config, spec, steps):
    """Returns a compiled VGG-16."""
    return classifier.compiled(config, spec, steps, network)


def network(images, *, full_size=False, width=32, activation="relu", normalization="batch", dropout=0.5,
            dropout_scaling="inverted", initializer="he"):
    """Returns the second fully connected layer of VGG-16, which has thirteen 3x3 convolutions in five stages before the first
    one.

    With `full_size`, it is the paper's configuration D: 64 to 512 channels and 4,096 units, for images of 224 pixels;
    138,357,544 weights with 1,000 classes and without normalization. Otherwise the first stage has `width` channels, and the
    fully connected layers have eight times as many units.

    images:    Keras tensor of scaled images, (batch, side, side, channels)
    full_size: whether to use the size of the paper's network, in which `width` is 64
    width:     channels of the first stage
    activation, normalization, dropout, dropout_scaling, initializer: see `Blocks`

    Example:
        >>> import keras
        >>> from apps.classification import vgg16
        >>> vgg16.network(keras.Input((32, 32, 3)), width=4).shape
        (None, 32)

    Source: Simonyan and Zisserman, 2015, "Very Deep Convolutional Networks for Large-Scale Image Recognition", table 1.
    What differs: optional batch normalization, with which the network trains from random weights, whereas the paper starts
    from a shallower network; maps with odd sides are padded before pooling.
    """
    parts = Blocks(activation=activation, normalization=normalization, dropout=dropout, dropout_scaling=dropout_scaling,
                   initializer=initializer)
    width, units = (64, 4096) if full_size else (width, 8 * width)
    x = images
    for stage, count in enumerate(STAGES):
        for place in range(count):
            x = parts.convolution(x, width * min(2 ** stage, 8), 3, 1, f"stage{stage + 1}_convolution{place + 1}")
        x = keras.layers.MaxPooling2D(2, padding="same", name=f"stage{stage + 1}_pool")(x)
    x = keras.layers.Flatten()(x)
    x = parts.dropout(parts.dense(x, units, "full1"), "dropout1")
    return parts.dropout(parts.dense(x, units, "full2"), "dropout2")
