"""The network under every head of ours: a backbone and its feature pyramid, and the anchors that go with it."""
import keras

import layers
from layers import backbones
from training import UserError


def build(config, finest=4):
    """Returns (keras.Model from images to the pyramid's maps, fine to coarse, and their strides), from stride `finest` on.

    Images are RGB from 0 to 255, (batch, image_size, image_size, 3); maps (batch, side, side, pyramid_filters).

    Raises:
        UserError: the backbone has no map of stride `finest`.
    """
    images = keras.Input((config.image_size, config.image_size, 3), name="image")
    x = keras.layers.Rescaling(1 / 64, -2.0)(images)  # about zero mean and unit variance for photographs
    maps = getattr(backbones, {"small": "small_resnet", "resnet18": "resnet18"}[config.backbone])(x)
    strides = [4 * 2 ** level for level in range(len(maps))]
    if finest not in strides:
        raise UserError(f"--finest-anchors {finest} must be a stride of the backbone: {', '.join(map(str, strides))}")
    maps = maps[strides.index(finest):]
    maps = layers.FeaturePyramid(config.pyramid_filters, config.extra_levels, normalize=True, name="pyramid")(maps)
    return keras.Model(images, maps, name="trunk"), tuple(finest * 2 ** level for level in range(len(maps)))


def anchor_levels(config, strides):
    """Returns the strides of the levels that carry anchors.

    Raises:
        UserError: no level has the stride `finest_anchors`.
    """
    if config.finest_anchors not in strides:
        raise UserError(f"--finest-anchors {config.finest_anchors} must be a stride of the pyramid: "
                        + ", ".join(map(str, strides)))
    return tuple(stride for stride in strides if stride >= config.finest_anchors)


def anchor_sizes(config, strides):
    """Returns per level the sides in pixels of its anchors: `anchor_scale` strides times powers of 2^(1 / octave)."""
    return tuple(tuple(config.anchor_scale * stride * 2 ** (step / config.anchor_octaves)
                       for step in range(config.anchor_octaves)) for stride in strides)
