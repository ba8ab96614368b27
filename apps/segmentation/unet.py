"""U-Net (S3)."""
import keras

from apps.segmentation import segmenter
from layers import backbones


def build_model(config, spec, steps):
    """Returns a compiled U-Net.

    Raises:
        UserError: a side of the images cannot be halved at every stage.
    """
    return segmenter.compiled(config, spec, steps, network, stride=2 ** (config.stages - 1))


def network(images, *, width=64, stages=5, dropout=0.0):
    """Returns the maps (batch, height, width, `width`) of a U-Net.

        down:  x_k = two 3x3 convolutions of maxpool(x_(k-1))
        up:    y_k = two 3x3 convolutions of [x_k, up-convolution(y_(k+1))]

    images:  Keras tensor of scaled images, (batch, height, width, 3); the sides are multiples of 2 ^ (stages - 1)
    width:   channels of the first stage; each further stage has twice as many
    stages:  number of resolutions; 5 in the paper
    dropout: dropout rate of the features at the lowest resolution

    Example:
        >>> import keras
        >>> from apps.segmentation import unet
        >>> unet.network(keras.Input((64, 96, 3)), width=8, stages=4).shape
        (None, 64, 96, 8)

    Source: Ronneberger et al., 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation", figure 1.
    What differs: convolutions are padded, so that the answer has the size of the image and no tiles are needed; batch
    normalization after every convolution, with which the network trains quickly from random weights; no map of weights for the
    borders between touching cells, because classes are told apart and not the cells of one class.
    """
    parts, skips, x = backbones.ReLUBlocks(), [], images
    for stage in range(1, stages + 1):
        if stage > 1:
            skips.append(x)
            x = keras.layers.MaxPooling2D(2, name=f"stage{stage - 1}_pool")(x)
        for number in (1, 2):
            x = parts.convolution(x, width * 2 ** (stage - 1), 3, 1, f"stage{stage}_convolution{number}")
    x = keras.layers.Dropout(dropout, name="features")(x)
    for stage in range(stages - 1, 0, -1):
        filters = width * 2 ** (stage - 1)
        x = keras.layers.Conv2DTranspose(filters, 2, 2, kernel_initializer="he_normal", name=f"up{stage}")(x)
        x = keras.layers.Concatenate(name=f"up{stage}_skip")([skips[stage - 1], x])
        for number in (1, 2):
            x = parts.convolution(x, filters, 3, 1, f"up{stage}_convolution{number}")
    return x
