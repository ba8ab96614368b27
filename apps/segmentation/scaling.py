"""Feature maps of half and of twice the height and width: pooling, and four ways to undo it."""
import keras

import layers

KINDS = ("nearest", "bed_of_nails", "max_unpooling", "transposed")


def halved(x, kind, name):
    """Returns x pooled by windows of 2x2, and what `doubled` needs to undo it with upsampling of this kind.

    x:    Keras tensor (batch, height, width, channels)
    kind: one of KINDS
    name: name of the layer
    """
    if kind != "max_unpooling":
        return keras.layers.MaxPooling2D(2, name=name)(x), None
    return layers.MaxPoolingWithArgmax(2, name=name)(x)


def doubled(x, kind, name, positions=None):
    """Returns x with twice the height and width and the same channels; convolutions are expected to follow.

    nearest:       each value becomes a square of 2x2
    bed_of_nails:  each value is in the corner of a square of zeros
    max_unpooling: each value is where a maximum was when the map was pooled; its channels must be those of the pooled map
    transposed:    a transposed convolution, which is bilinear interpolation at first and then learned

    x:         Keras tensor (batch, height, width, channels)
    kind:      one of KINDS
    name:      name of the layer
    positions: positions from `halved`, for max_unpooling
    """
    if kind == "nearest":
        return keras.layers.UpSampling2D(2, name=name)(x)
    if kind == "bed_of_nails":
        return layers.BedOfNails(2, name=name)(x)
    if kind == "max_unpooling":
        return layers.MaxUnpooling(2, name=name)(x, positions)
    return keras.layers.Conv2DTranspose(x.shape[-1], 4, 2, padding="same", use_bias=False, name=name,
                                        kernel_initializer=layers.BilinearInitializer())(x)
