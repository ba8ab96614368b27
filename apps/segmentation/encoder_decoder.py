"""Encoder and decoder without shortcuts (S2)."""
import keras

from apps.segmentation import scaling, segmenter
from layers import backbones


def build_model(config, spec, steps):
    """Returns a compiled encoder and decoder.

    Raises:
        UserError: a side of the images cannot be halved at every stage.
    """
    return segmenter.compiled(config, spec, steps, network, stride=2 ** config.stages)


def network(images, *, upsampling="max_unpooling", width=64, stages=5, dropout=0.0):
    """Returns the maps (batch, height, width, `width`) of the decoder.

        encoder stage k: two 3x3 convolutions, then maximum pooling by 2
        decoder stage k: upsampling by 2, then two 3x3 convolutions, the last with the channels of the stage before

    The encoder halves the maps `stages` times, and the decoder mirrors it. Of what the encoder sees, the decoder gets the
    features at the lowest resolution and, with max_unpooling, the positions of the maxima in every pooling.

    images:     Keras tensor of scaled images, (batch, height, width, 3); the sides are multiples of 2 ^ stages
    upsampling: how the decoder doubles the sides, see `scaling.doubled`
    width:      channels of the first stage; each further stage has twice as many, up to 8 times
    stages:     number of poolings
    dropout:    dropout rate of the features at the lowest resolution

    Example:
        >>> import keras
        >>> from apps.segmentation import encoder_decoder
        >>> encoder_decoder.network(keras.Input((64, 96, 3)), width=8, stages=3).shape
        (None, 64, 96, 8)

    Source: Noh et al., 2015, "Learning Deconvolution Network for Semantic Segmentation", section 3; Badrinarayanan et al., 2017,
    "SegNet", section 3, whose upsampling is max_unpooling.
    What differs: two convolutions in every stage instead of two or three; no fully connected layers between encoder and decoder,
    as in SegNet; training from random weights.
    """
    parts, positions, x = backbones.ReLUBlocks(), [], images
    filters = [width * 2 ** min(stage, 3) for stage in range(stages)]
    for stage in range(stages):
        for number in (1, 2):
            x = parts.convolution(x, filters[stage], 3, 1, f"stage{stage + 1}_convolution{number}")
        x, where = scaling.halved(x, upsampling, f"stage{stage + 1}_pool")
        positions.append(where)
    x = keras.layers.Dropout(dropout, name="features")(x)
    for stage in reversed(range(stages)):
        x = scaling.doubled(x, upsampling, f"up{stage + 1}", positions[stage])
        x = parts.convolution(x, filters[stage], 3, 1, f"up{stage + 1}_convolution1")
        x = parts.convolution(x, filters[max(stage - 1, 0)], 3, 1, f"up{stage + 1}_convolution2")
    return x
