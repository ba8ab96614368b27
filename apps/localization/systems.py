"""The settings of all systems of this application. Importing this module does not import TensorFlow."""
from typing import Annotated, ClassVar, Literal

import training
from training.config import Count, Fraction, NotNegative


class Localizer(training.Config, model="localizer", ids=("D1",)):
    """Class and box from shared features, with one box in all or one per class (Sermanet et al., 2013)."""

    MONITOR: ClassVar = ("right_iou", "max")
    DATASETS: ClassVar = {"digit_scenes": dict(image_size=128, epochs=40, learning_rate=3e-3, backbone="small", stride=8),
                          "bccd": dict(image_size=320, epochs=30, batch_size=8, backbone="small", stride=16)}
    SPACE: ClassVar = {"learning_rate": ("log", 3e-4, 1e-2), "weight_decay": ("log", 1e-3, 0.5),
                       "box_weight": ("log", 0.1, 10.0), "dropout": ("linear", 0.0, 0.7)}

    dataset: str = "digit_scenes/one"
    """digit_scenes/one, digit_scenes, bccd, coco_folder, voc_folder, or TFDS's voc/2007, coco/2017; of each image the largest
    object"""
    epochs = 20
    batch_size = 16
    boxes: Literal["shared", "per_class"] = "shared"
    """predict one box for all classes, or one for each class, of which that of the predicted class counts"""
    head: Literal["shared", "separate"] = "shared"
    """hidden layer and attention of class and box: one for both, or one for each"""
    backbone: Literal["small", "resnet18"] = "resnet18"
    """convolutional network whose features class and box share"""
    stride: Annotated[int, Count] = 32
    """stride, in pixels, of the backbone's feature map from which class and box are predicted"""
    hidden_units: Annotated[int, Count] = 128
    """channels of each hidden layer"""
    box_weight: Annotated[float, NotNegative] = 1.0
    """weight of the box's smooth L1 loss; the cross-entropy of the class has weight 1"""
    dropout: Annotated[float, Fraction] = 0.0
    """dropout rate of the features that class and box are predicted from"""
    image_size: Annotated[int, Count] = 224
    """side length, in pixels, of the square that each image is resized to fit"""
    augment: bool = True
    """randomly flip, scale, crop and recolor the training images"""
    weight_decay: Annotated[float, NotNegative] = 0.05
    """decoupled weight decay of the optimizer"""
