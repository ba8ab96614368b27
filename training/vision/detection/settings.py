"""Settings that detectors share. Importing this module does not import TensorFlow."""
from typing import Annotated, ClassVar, Literal

import training
from training.config import Count, NotNegative, Positive, When

MAX_DETECTIONS = 100
"""maximum number of detections per image, as in COCO's protocol"""
SHOWN_SCORE = 0.5
"""lowest score of the detections that pictures show and `predict` counts; its JSON files contain all of them"""


class Detection(training.Config):
    """Settings shared by all detectors."""

    MONITOR: ClassVar = ("ap", "max")
    DATASETS: ClassVar = {
        "digit_scenes": dict(image_size=128, max_objects=8, epochs=10, batch_size=8, learning_rate=3e-3),
        "bccd": dict(image_size=320, max_objects=64, epochs=30, batch_size=4, learning_rate=2e-3)}
    SPACE: ClassVar = {"learning_rate": ("log", 3e-4, 1e-2), "weight_decay": ("log", 1e-3, 0.5)}

    dataset: str = "digit_scenes"
    """digit_scenes, bccd, coco_folder, voc_folder, or TFDS's voc/2007, coco/2017"""
    epochs = 12
    batch_size = 16
    image_size: Annotated[int, Count] = 512
    """side length, in pixels, of the square that each image is resized to fit"""
    max_objects: Annotated[int, Count] = 100
    """maximum number of objects per training image; further ones are ignored, neither objects nor background"""
    augment: bool = True
    """randomly flip, scale, crop and recolor the training images"""
    augmentation: Annotated[Literal["scale", "ssd"], When("augment", True)] = "scale"
    """scale: change the size moderately; ssd: zoom out, or crop around objects, and stretch, as SSD does"""
    weight_decay: Annotated[float, NotNegative] = 0.05
    """decoupled weight decay of the optimizer"""


class Pyramid(Detection):
    """Settings shared by the detectors with a feature pyramid."""

    backbone: Literal["small", "resnet18"] = "resnet18"
    """convolutional network below the feature pyramid"""
    pyramid_filters: Annotated[int, Count] = 256
    """channels of each level of the feature pyramid"""
    extra_levels: Annotated[int, NotNegative] = 1
    """coarser pyramid levels added on top of those of the backbone"""
    min_anchor_stride: Annotated[int, Count] = 4
    """stride, in pixels, of the finest pyramid level with anchors"""
    anchor_scale: Annotated[float, Positive] = 8.0
    """side of a level's smallest anchor, as a multiple of the level's stride"""
    anchor_octaves: Annotated[int, Count] = 1
    """anchor sizes per pyramid level"""
    anchor_ratios: Annotated[tuple[float, ...], Positive] = (0.5, 1.0, 2.0)
    """aspect ratios of the anchors, height divided by width"""


class TwoStage(Pyramid):
    """Settings shared by the networks that propose regions and classify them."""

    DATASETS: ClassVar = {
        # digits are taller than wide and all small: fewer shapes of anchors, each of which learns from more examples
        "digit_scenes": dict(
            backbone="small", pyramid_filters=64, extra_levels=0, min_anchor_stride=8, anchor_scale=2.0, anchor_octaves=2,
            anchor_ratios=(1.0, 2.0), proposals=100, regions_per_image=32, region_levels=1, head_units=256, validate_every=2),
        "bccd": dict(
            backbone="small", pyramid_filters=64, min_anchor_stride=8, anchor_scale=2.0, anchor_octaves=2, proposals=200,
            regions_per_image=64, region_levels=2, head_units=256)}

    proposals: Annotated[int, Count] = 300
    """region proposals per image that the second stage classifies"""
    regions_per_image: Annotated[int, Count] = 128
    """regions per image sampled to train the second stage"""
    region_levels: Annotated[int, Count] = 4
    """pyramid levels from which region features are pooled"""
    head_units: Annotated[int, Count] = 1024
    """units in each of the two hidden layers of the second stage"""


class OutsideRegions(Detection):
    """Settings shared by the detectors whose regions come from outside the network."""

    DATASETS: ClassVar = {
        "digit_scenes": dict(regions=300, search="small", regions_per_image=32),
        "bccd": dict(regions=500, search="small")}

    regions: Annotated[int, Count] = 2000
    """maximum number of regions per image that selective search finds and the network classifies"""
    search: Literal["fast", "small"] = "fast"
    """variant of selective search: fast is the paper's, with 8 hierarchies; small has 2 and takes a third of the time"""
    regions_per_image: Annotated[int, Count] = 64
    """regions per image sampled in training"""
