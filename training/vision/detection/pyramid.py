"""The network below the detection heads: a backbone with a feature pyramid, and the anchors of its levels."""
import keras

import layers
from layers import backbones
from training.errors import UserError

KINDS = {"small": backbones.small_resnet, "resnet18": backbones.resnet18}


def build(image_size, kind, filters, extra_levels, min_stride=4):
    """Returns (keras.Model from images to the maps of the pyramid, fine to coarse, and their strides), starting at
    `min_stride`.

    image_size:   side length of the images, which are RGB from 0 to 255, (batch, image_size, image_size, 3)
    kind:         "small" or "resnet18", the network below the pyramid
    filters:      channels of each map, (batch, side, side, filters)
    extra_levels: coarser maps in addition to those of the backbone

    Raises:
        UserError: the backbone has no map of stride `min_stride`.
    """
    images = keras.Input((image_size, image_size, 3), name="image")
    x = keras.layers.Rescaling(1 / 64, -2.0)(images)  # about zero mean and unit variance for photographs
    maps = KINDS[kind](x)
    strides = [4 * 2 ** level for level in range(len(maps))]
    if min_stride not in strides:
        raise UserError(f"--min-anchor-stride {min_stride} must be a stride of the backbone: {', '.join(map(str, strides))}")
    maps = maps[strides.index(min_stride):]
    maps = layers.FeaturePyramid(filters, extra_levels, normalize=True, name="pyramid")(maps)
    return keras.Model(images, maps, name="backbone"), tuple(min_stride * 2 ** level for level in range(len(maps)))


def anchor_levels(strides, min_stride):
    """Returns the strides of the levels with anchors, starting at `min_stride`.

    Raises:
        UserError: no level has the stride `min_stride`.
    """
    if min_stride not in strides:
        raise UserError(f"--min-anchor-stride {min_stride} must be a stride of the pyramid: " + ", ".join(map(str, strides)))
    return tuple(stride for stride in strides if stride >= min_stride)


def anchor_sizes(strides, scale, octaves):
    """Returns the side lengths in pixels of the anchors per level: `scale` strides times powers of 2^(1 / octaves)."""
    return tuple(tuple(scale * stride * 2 ** (step / octaves) for step in range(octaves)) for stride in strides)
