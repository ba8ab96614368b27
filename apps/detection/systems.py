"""The settings of all systems of this application. Importing this module does not import TensorFlow."""
from typing import Annotated, ClassVar, Literal

import tyro

from training.config import Count, NotNegative, Positive, Verb
from training.paths import IsPath, Path
from training.vision.detection.settings import Detection, OutsideRegions, Pyramid, TwoStage


class FasterRCNN(TwoStage, model="faster_rcnn", ids=("D5",)):
    """Faster R-CNN (Ren et al., 2015) over a feature pyramid (Lin et al., 2017)."""


class RetinaNet(Pyramid, model="retinanet", ids=("D8",)):
    """RetinaNet with focal loss (Lin et al., 2017)."""

    DATASETS: ClassVar = {
        "digit_scenes": dict(
            backbone="small", pyramid_filters=48, extra_levels=0, min_anchor_stride=4, anchor_octaves=2,
            anchor_ratios=(1.0, 2.0), head_layers=2, validate_every=2),
        "bccd": dict(backbone="small", pyramid_filters=64, extra_levels=1, anchor_scale=2.0)}

    extra_levels = 2
    min_anchor_stride = 8
    anchor_scale = 4.0
    anchor_octaves = 3
    head_layers: Annotated[int, NotNegative] = 4
    """convolutional layers in each head before its output layer"""
    class_loss: Literal["focal", "cross_entropy"] = "focal"
    """loss of the class scores; cross_entropy shows what the focal loss is for"""


class KerasCVRetinaNet(Detection, model="keras_cv_retinanet"):
    """keras-cv's RetinaNet on our data, metrics and export."""

    DATASETS: ClassVar = {"digit_scenes": dict(anchor_scale=2.0), "bccd": dict(anchor_scale=2.5)}

    learning_rate = 3e-4  # its towers are not normalized: at 1e-3 the loss jumps, at 3e-3 training diverges in the second epoch
    anchor_scale: Annotated[float, Positive] = 4.0
    """side of a level's smallest anchor, as a multiple of the level's stride"""


class YOLO(Detection, model="yolo", ids=("D6",)):
    """YOLO, version 1: one grid of cells, each with a few boxes and one class (Redmon et al., 2016)."""

    DATASETS: ClassVar = {
        "digit_scenes": dict(
            image_size=128, backbone="small", cells=8, head_layers=2, head_filters=128, epochs=30, validate_every=5),
        "bccd": dict(image_size=320, backbone="small", cells=20, head_layers=2, head_filters=128)}

    image_size = 448
    backbone: Literal["small", "resnet18"] = "resnet18"
    """convolutional network below the heads"""
    cells: Annotated[int, Count] = 7
    """cells per side of the grid; one side of a cell must be 4, 8, 16, … pixels long"""
    boxes_per_cell: Annotated[int, Count] = 2
    """boxes that each cell predicts"""
    head_layers: Annotated[int, NotNegative] = 4
    """convolutional layers in each head before its output layer"""
    head_filters: Annotated[int, Count] = 1024
    """channels of the convolutional layers of the head"""


class SSD(Detection, model="ssd", ids=("D7",)):
    """SSD: default boxes on feature maps of several sizes, hard negative mining (Liu et al., 2016)."""

    DATASETS: ClassVar = {
        "digit_scenes": dict(
            backbone="small", extra_maps=1, extra_filters=64, min_scale=0.12, max_scale=0.36, anchor_ratios=(1.0, 2.0),
            epochs=20, validate_every=4),
        "bccd": dict(backbone="small", extra_maps=2, extra_filters=64, min_scale=0.06, max_scale=0.35)}

    augmentation = "ssd"
    backbone: Literal["small", "resnet18"] = "resnet18"
    """convolutional network below the heads"""
    finest_stride: Annotated[int, Count] = 8
    """stride, in pixels, of the finest feature map with default boxes"""
    extra_maps: Annotated[int, NotNegative] = 4
    """feature maps that follow those of the backbone, each at half the resolution"""
    extra_filters: Annotated[int, Count] = 256
    """channels of each of them"""
    min_scale: Annotated[float, Positive] = 0.1
    """scale of the default boxes of the finest feature map, as a fraction of the image's side"""
    max_scale: Annotated[float, Positive] = 0.9
    """scale of the default boxes of the coarsest feature map; the others lie evenly between them"""
    anchor_ratios: Annotated[tuple[float, ...], Positive] = (1.0, 2.0, 0.5, 3.0, 1 / 3)
    """aspect ratios of the anchors, height divided by width"""


class SlidingWindow(Detection, model="sliding_window", ids=("D2",)):
    """One classifier at many positions, scales and shapes, without boxes of its own (Sermanet et al., 2013)."""

    DATASETS: ClassVar = {
        "digit_scenes": dict(filters=32, window_heights=(16, 22, 31, 44), window_ratios=(1.2, 2.0), epochs=6, validate_every=2),
        "bccd": dict(filters=32, window_heights=(16, 32, 46, 64, 90), window_ratios=(0.75, 1.0, 1.33))}

    filters: Annotated[int, Count] = 128
    """channels of the classifier's convolutions"""
    window_heights: Annotated[tuple[int, ...], Count] = (32, 64, 128, 256)
    """heights of the windows, in pixels"""
    window_ratios: Annotated[tuple[float, ...], Positive] = (0.5, 1.0, 2.0)
    """shapes of the windows, height divided by width"""


class RCNN(OutsideRegions, model="rcnn", ids=("D3",)):
    """R-CNN: each region of selective search is a pass of the network (Girshick et al., 2014)."""

    DATASETS: ClassVar = {
        "digit_scenes": dict(backbone="small", region_size=48, head_units=256, regions_per_image=16, validate_every=5),
        "bccd": dict(backbone="small", region_size=64, head_units=256, regions_per_image=32)}

    backbone: Literal["small", "resnet18"] = "resnet18"
    """convolutional network that reads the warped regions"""
    region_size: Annotated[int, Count] = 224
    """side length, in pixels, of the square that each region is warped to, with its context"""
    head_units: Annotated[int, Count] = 1024
    """units in each of the two hidden layers of the second stage"""


class FastRCNN(OutsideRegions, model="fast_rcnn", ids=("D4",)):
    """Fast R-CNN with regions of selective search (Girshick, 2015)."""

    DATASETS: ClassVar = {
        "digit_scenes": dict(backbone="small", pyramid_filters=64, head_units=256, validate_every=2),
        "bccd": dict(backbone="small", pyramid_filters=64, head_units=256)}

    backbone: Literal["small", "resnet18"] = "resnet18"
    """convolutional network below the feature pyramid"""
    pyramid_filters: Annotated[int, Count] = 256
    """channels of each level of the feature pyramid"""
    head_units: Annotated[int, Count] = 1024
    """units in each of the two hidden layers of the second stage"""


class Compare(Verb):
    """Compare the average precision and the speed of finished runs on one data set, and plot one against the other."""

    run: tyro.conf.Positional[Annotated[tuple[str, ...], IsPath()]] = ()
    """names or folders of finished runs; none: the newest run of each system"""
    dataset: str | None = None
    """data set of the newest runs; None: digit_scenes; named runs have their own"""
    images: Annotated[int, Count] = 20
    """test images whose detection is timed"""
    runs: Path = "runs"
    """parent folder of the runs and of the report"""
    name: str | None = None
    """name of the report's folder; None: date, time and verb"""
