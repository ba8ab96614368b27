"""The settings of all systems of this application. Importing this module does not import TensorFlow."""
from typing import Annotated, ClassVar

import training
from training.config import Count, Fraction, NotNegative, When


class Config(training.Config):
    """Settings shared by all systems."""

    INSTANCES: ClassVar[bool] = False
    """whether the system finds single objects with a mask each, instead of a class for every pixel"""

    dataset: str = "digit_scenes"
    """digit_scenes, camvid, segmentation_folder, or TFDS's oxford_iiit_pet"""
    image_size: Annotated[int, Count] = 256
    """side length, in pixels, of the square that each image is resized to fit; the rest of the square is not evaluated"""
    augment: bool = True
    """randomly flip, scale, crop and recolor the training images"""
    weight_decay: Annotated[float, NotNegative] = 0.05
    """decoupled weight decay of the optimizer"""


class Semantic(Config):
    """Settings shared by the systems that predict a class for every pixel."""

    MONITOR: ClassVar = ("mean_iou", "max")
    DATASETS: ClassVar = {
        "digit_scenes": dict(image_size=128, epochs=8, batch_size=8, validate_every=2),
        "camvid": dict(image_size=240, crop_size=176, epochs=60, batch_size=4, validate_every=5)}
    VARIANTS: ClassVar = {("augment", False): {"crop_size": None}}
    SPACE: ClassVar = {"learning_rate": ("log", 3e-4, 3e-2), "weight_decay": ("log", 1e-3, 0.5),
                       "class_balance": ("linear", 0.0, 1.0)}

    epochs = 30
    batch_size = 8
    learning_rate = 3e-3
    crop_size: Annotated[int | None, Count, When("augment", True)] = None
    """side length, in pixels, of the squares cut out of the augmented images for training; None: image_size"""
    class_balance: Annotated[float, NotNegative] = 0.5
    """exponent of the weight of a class, (median share of pixels / share of the class) ^ class_balance; 0: equal weights"""
    dice_share: Annotated[float, NotNegative] = 0.0
    """weight of the Dice loss, which is added to the cross-entropy"""
    dropout: Annotated[float, Fraction] = 0.0
    """dropout rate of the features at the lowest resolution"""


class UNet(Semantic, model="unet", ids=("S3",)):
    """U-Net (Ronneberger et al., 2015)."""

    width: Annotated[int, Count] = 16
    """channels of the first stage; each further stage has twice as many"""
    stages: Annotated[int, Count] = 5
    """resolutions, each half of the one before"""

    DATASETS: ClassVar = {"digit_scenes": dict(width=12, stages=4), "camvid": dict(width=16)}
