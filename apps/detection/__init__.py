"""Finds objects in images: boxes, classes and scores.

    python -m apps.detection
    python -m apps.detection --dataset bccd --manual-dir DATA
    python -m apps.detection predict photo.jpg

Data:    digit_scenes (embedded), bccd, coco_folder, voc_folder, and TFDS's voc/2007 and coco/2017.
Systems: faster_rcnn, retinanet, keras_cv_retinanet.
Result:  COCO average precision on the test split; see RESULTS.md.
"""
import dataclasses
import math
from typing import Literal

import training

SYSTEMS = {
    "faster_rcnn": "D5: Faster R-CNN (Ren et al., 2015) over a feature pyramid (Lin et al., 2017)",
    "retinanet": "D8: RetinaNet with focal loss (Lin et al., 2017)",
    "keras_cv_retinanet": "baseline: keras-cv's RetinaNet on our data, metrics and export",
}

POSITIVE = ("image_size", "max_objects", "pyramid_filters", "finest_anchors", "anchor_scale", "anchor_octaves", "anchor_ratios",
            "proposals", "samples", "region_levels", "head_units")
"""settings that must be above 0"""

RANGES = {"extra_levels": (0, math.inf), "head_layers": (0, math.inf), "weight_decay": (0, math.inf)}
"""the least that settings may be, and what they must be below"""

SPACE = {"learning_rate": ("log", 3e-4, 1e-2), "weight_decay": ("log", 1e-3, 0.5)}
"""what `search` tries"""


@dataclasses.dataclass(frozen=True)
class Config(training.Config):
    """Object detection."""

    model: Literal["faster_rcnn", "retinanet", "keras_cv_retinanet"] = "faster_rcnn"
    """the system to train"""
    dataset: str = "digit_scenes"
    """digit_scenes, bccd, coco_folder, voc_folder, or TFDS's voc/2007, coco/2017"""
    image_size: int | None = None
    """side of the square that images are fitted into, in pixels"""
    max_objects: int | None = None
    """objects kept per image in training"""
    backbone: Literal["small", "resnet18"] | None = None
    """network under the feature pyramid"""
    pyramid_filters: int | None = None
    """channels of each level of the feature pyramid"""
    extra_levels: int | None = None
    """levels of the pyramid beyond the backbone's"""
    finest_anchors: int | None = None
    """stride of the finest level that carries anchors, in pixels"""
    anchor_scale: float | None = None
    """side of the smallest anchor of a level, in strides of that level"""
    anchor_octaves: int | None = None
    """sizes of anchors per level"""
    anchor_ratios: tuple[float, ...] | None = None
    """shapes of anchors, height over width"""
    proposals: int | None = None
    """regions that the proposal network hands on per image"""
    samples: int | None = None
    """regions per image that the second stage trains on"""
    region_levels: int | None = None
    """levels of the pyramid that regions are read from"""
    head_units: int | None = None
    """units of each of the second stage's two hidden layers"""
    head_layers: int | None = None
    """convolutions before the outputs of a one-stage head"""
    augment: bool = True
    """flip, scale, crop and recolour the training images"""
    weight_decay: float | None = None
    """of the optimizer"""


def defaults(model, dataset):
    """Returns the settings that `model` reads and their values for `dataset`."""
    values = dict(epochs=12, batch_size=16, learning_rate=1e-3, weight_decay=0.05, image_size=512, max_objects=100)
    if dataset == "digit_scenes":
        # digits are taller than wide and all small: fewer shapes of anchors, each of which learns from more examples
        values |= dict(image_size=128, max_objects=8, epochs=10, batch_size=8, learning_rate=3e-3)
    if dataset == "bccd":
        values |= dict(image_size=320, max_objects=64, epochs=30, batch_size=4, learning_rate=2e-3)
    if model == "keras_cv_retinanet":
        # its towers are not normalised: at 1e-3 the loss jumps, at 3e-3 it is gone in the second epoch
        return values | dict(anchor_scale={"digit_scenes": 2.0, "bccd": 2.5}.get(dataset, 4.0), learning_rate=3e-4)
    values |= dict(backbone="resnet18", pyramid_filters=256, extra_levels=1, finest_anchors=4, anchor_scale=8.0, anchor_octaves=1,
                   anchor_ratios=(0.5, 1.0, 2.0))
    if model == "faster_rcnn":
        values |= dict(proposals=300, samples=128, region_levels=4, head_units=1024)
        if dataset == "digit_scenes":
            values |= dict(backbone="small", pyramid_filters=64, extra_levels=0, finest_anchors=8, anchor_scale=2.0,
                           anchor_octaves=2, anchor_ratios=(1.0, 2.0), proposals=100, samples=32, region_levels=1,
                           head_units=256, validate_every=2)
        if dataset == "bccd":
            values |= dict(backbone="small", pyramid_filters=64, extra_levels=1, finest_anchors=8, anchor_scale=2.0,
                           anchor_octaves=2, proposals=200, samples=64, region_levels=2, head_units=256)
    if model == "retinanet":
        values |= dict(extra_levels=2, finest_anchors=8, anchor_scale=4.0, anchor_octaves=3, head_layers=4)
        if dataset == "digit_scenes":
            values |= dict(backbone="small", pyramid_filters=48, extra_levels=0, finest_anchors=4,
                           anchor_octaves=2, anchor_ratios=(1.0, 2.0), head_layers=2, validate_every=2)
        if dataset == "bccd":
            values |= dict(backbone="small", pyramid_filters=64, extra_levels=1, anchor_scale=2.0)
    return values
