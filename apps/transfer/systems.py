"""The settings of all systems of this application. Importing this module does not import TensorFlow."""
import dataclasses
from typing import Annotated, ClassVar

import training
from training import datasets
from training.config import Count, Data, NotNegative, Positive, When
from training.paths import Path

APPLICATIONS = ("mobilenet_v2", "resnet50_v2", "densenet121")
"""networks of keras.applications that can be the backbone"""

_SMALL = When("backbone", "small")
_LEARNS_SOURCE = _SMALL  # the other backbones have learned something else before


class Config(training.Config):
    """Settings shared by all systems."""

    MONITOR: ClassVar = ("accuracy", "max")
    BFLOAT16: ClassVar = False  # these networks are too small
    DATASETS: ClassVar = {name: dict(blocks=1) | (dict(augment=False) if name == "mnist" else {}) for name in datasets.GRAY}
    SPACE: ClassVar = {"learning_rate": ("log", 1e-3, 0.5)}

    dataset: str = "digits"
    """data set of the target task: digits, cifar10_subset, image_folder, or TFDS's mnist, fashion_mnist, …"""
    epochs = 20
    batch_size = 64
    learning_rate = 0.1
    backbone: Path = "small"
    """network below the classifier: small, a residual network pretrained on the source task; mobilenet_v2, resnet50_v2 or
    densenet121 with ImageNet weights (fetched with --download); or the name or folder of an earlier run on images. The system
    scratch uses only the architecture"""
    width: Annotated[int, Count, _SMALL] = 16
    """channels of the small backbone's first stage"""
    blocks: Annotated[int, Count, _SMALL] = 3
    """residual blocks per stage of the small backbone"""
    examples: Annotated[int | None, Count] = None
    """training images per class of the target task; None: all"""
    image_size: Annotated[int | None, Count] = None
    """side length, in pixels, of the square that each image is resized to fit; None: chosen by data set and backbone"""
    weight_decay: Annotated[float, NotNegative] = 5e-3
    """decoupled weight decay of the optimizer"""
    augment: bool = True
    """randomly shift the training images, and mirror them where a mirror image keeps its class"""

    @property
    def has_source(self):
        """Whether there is a source task, which the backbone learns before the target task or together with it."""
        return _LEARNS_SOURCE.holds(self.backbone)


class Pretrained(Config):
    """Settings shared by the systems that start from a pretrained backbone."""

    DATASETS: ClassVar = {"digits": dict(source_epochs=30)}

    source: Annotated[str | None, _LEARNS_SOURCE] = None
    """data set of the source task; None: split the classes of --dataset into a source half and a target half"""
    source_epochs: Annotated[int, Count, _LEARNS_SOURCE, When("initialize", None)] = 20
    """pretraining epochs on the source task"""
    source_learning_rate: Annotated[float, Positive, _LEARNS_SOURCE, When("initialize", None)] = 0.1
    """peak learning rate of pretraining"""

    def pretraining(self):
        """Returns the settings for training a network on the source task from random weights."""
        shared = {field.name: getattr(self, field.name) for field in dataclasses.fields(Scratch)}
        return Scratch(**shared | dict(
            model=Scratch.model, epochs=self.source_epochs, learning_rate=self.source_learning_rate,
            validate_every=self.source_epochs))


class AllLayers(Pretrained, model="all_layers", ids=("C9",)):
    """Fine-tune all layers from pretrained weights (Yosinski et al., 2014)."""

    learning_rate = 0.03


class HigherLayers(Pretrained, model="higher_layers", ids=("C9",)):
    """Fine-tune the last layers and the classifier; the other layers keep their pretrained weights."""

    SPACE: ClassVar = Config.SPACE | {"higher": ("choice", 1, 2, 4, 8)}

    higher: Annotated[int, Count] = 3
    """number of backbone layers with kernels to fine-tune, counted from the last one"""


class ClassifierOnly(Pretrained, model="classifier_only", ids=("C9",)):
    """Train only the classifier on pretrained features."""


class Scratch(Config, model="scratch", ids=("C9",)):
    """The same network trained from random weights, the baseline."""


class MultiTask(Config, model="multi_task", ids=("C10",)):
    """Multi-task learning: one backbone with a classifier for each task (Caruana, 1997)."""

    DATASETS: ClassVar = {"digits": dict(epochs=30)}

    source: str | None = None
    """data set of the other task; None: split the classes of --dataset into a source half and a target half"""

    @property
    def has_source(self):
        """Whether there is a source task: always, whatever the backbone is."""
        return True


class Regimes(training.Experiment, Data):
    """Compare all systems by the number of target images, in a table and a plot."""

    dataset: str = "digits"
    """data set of the target task, as for training"""
    source: str | None = None
    """data set of the source task; None: split the classes of --dataset into a source half and a target half"""
    sizes: Annotated[tuple[int, ...], Count] = (1, 3, 10, 30, 100)
    """numbers of training images per target class to compare"""
    seeds: Annotated[int, Count] = 3
    """training runs for each combination; the report shows mean and standard deviation"""
    epochs: Annotated[int | None, Count] = None
    """epochs on the target task; None: the default of each system"""
    source_epochs: Annotated[int | None, Count] = None
    """epochs on the source task, for pretraining and for multi_task; None: the default for the data set"""
    name: str | None = "regimes"
    """name of the report's folder"""
