"""Fully convolutional network with scores from several resolutions (S2)."""
import keras

from apps.segmentation import scaling, segmenter
from layers import backbones

_CONVOLUTIONS = (2, 2, 3, 3, 3)
"""convolutions of each stage, as in VGG-16"""


def build_model(config, spec, steps):
    """Returns a compiled fully convolutional network.

    Raises:
        UserError: a side of the images cannot be halved at every stage.
    """
    return segmenter.compiled(config, spec, steps, network, stride=2 ** config.stages)


def network(images, *, upsampling="transposed", stride=8, width=64, stages=5, scores=16, dropout=0.0):
    """Returns score maps (batch, height, width, `scores`) of a fully convolutional network.

        s_5 = score(features at stride 32)
        s_k = up(s_(k+1)) + score(pool k),   for the strides down to `stride`
        maps = up(...up(s)),   back to the size of the image

    Each `up` doubles the sides; `score` is a 1x1 convolution. With stride 32, 16 and 8 it is FCN-32s, FCN-16s and FCN-8s.

    images:     Keras tensor of scaled images, (batch, height, width, 3); the sides are multiples of 2 ^ stages
    upsampling: how the scores are enlarged, see `scaling.doubled`
    stride:     finest stride whose features are scored, a power of two
    width:      channels of the first stage; each further stage has twice as many, up to 8 times
    stages:     number of poolings
    scores:     channels of the score maps, of which the class scores are an affine function
    dropout:    dropout rate of the features at the lowest resolution

    Example:
        >>> import keras
        >>> from apps.segmentation import fcn
        >>> fcn.network(keras.Input((64, 96, 3)), width=8, stages=4).shape
        (None, 64, 96, 16)

    Source: Long et al., 2015, "Fully Convolutional Networks for Semantic Segmentation", sections 3 and 4.
    What differs: training of all stages at once, from random weights with batch normalization, instead of first the coarse
    network with weights from ImageNet; one 3x3 convolution instead of VGG-16's two fully connected layers; `scores` channels
    instead of one for each class, so that the enlargement is learned jointly; enlargement in steps of two to the end. After
    upsampling of the other three kinds, a 3x3 convolution fills the gaps, and max_unpooling needs a 1x1 convolution to the
    channels of the pooled map before.
    """
    parts, pools, positions, x = backbones.ReLUBlocks(), [], [], images
    for stage in range(stages):
        filters = width * 2 ** min(stage, 3)
        for number in range(_CONVOLUTIONS[min(stage, 4)]):
            x = parts.convolution(x, filters, 3, 1, f"stage{stage + 1}_convolution{number + 1}")
        x, where = scaling.halved(x, upsampling, f"stage{stage + 1}_pool")
        pools.append(x)
        positions.append(where)
    x = parts.convolution(x, 2 * filters, 3, 1, "head_convolution")
    x = keras.layers.Dropout(dropout, name="features")(x)
    x = keras.layers.Conv2D(scores, 1, name=f"score{stages}")(x)
    for stage in reversed(range(stages)):  # from the maps after the pooling `stage` to those before it
        if upsampling == "max_unpooling":
            x = keras.layers.Conv2D(pools[stage].shape[-1], 1, name=f"up{stage + 1}_expansion")(x)
        x = scaling.doubled(x, upsampling, f"up{stage + 1}", positions[stage])
        if upsampling != "transposed":
            x = keras.layers.Conv2D(scores, 3, padding="same", name=f"up{stage + 1}_convolution")(x)
        if stage and 2 ** stage >= stride:
            skip = keras.layers.Conv2D(scores, 1, name=f"score{stage}")(pools[stage - 1])
            x = keras.layers.Add(name=f"sum{stage}")([x, skip])
    return x
