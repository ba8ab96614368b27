"""The settings of all systems of this application. Importing this module does not import TensorFlow."""
from typing import Annotated, ClassVar

from training.config import NotNegative, Positive
from training.vision.detection.settings import Detection, Pyramid, TwoStage


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


class KerasCVRetinaNet(Detection, model="keras_cv_retinanet"):
    """keras-cv's RetinaNet on our data, metrics and export."""

    DATASETS: ClassVar = {"digit_scenes": dict(anchor_scale=2.0), "bccd": dict(anchor_scale=2.5)}

    learning_rate = 3e-4  # its towers are not normalized: at 1e-3 the loss jumps, at 3e-3 training diverges in the second epoch
    anchor_scale: Annotated[float, Positive] = 4.0
    """side of a level's smallest anchor, as a multiple of the level's stride"""
