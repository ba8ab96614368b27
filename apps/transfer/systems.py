"""The settings of every system of this application; importing this module imports no TensorFlow."""
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
    """What all systems share."""

    MONITOR: ClassVar = ("accuracy", "max")
    DATASETS: ClassVar = {name: dict(blocks=1) | (dict(augment=False) if name == "mnist" else {}) for name in datasets.GRAY}
    SPACE: ClassVar = {"learning_rate": ("log", 1e-3, 0.5)}

    dataset: str = "digits"
    """data set of the target's task: digits, cifar10_subset, image_folder, or TFDS's mnist, fashion_mnist, …"""
    epochs = 20
    batch_size = 64
    learning_rate = 0.1
    dtype = "float32"  # the small network gains nothing by bfloat16 on small images
    backbone: Path = "small"
    """everything below the classifier: small, a residual network that learns the source's task first; mobilenet_v2, resnet50_v2
    or densenet121 with ImageNet's weights (fetched with --download); or the name or folder of a run on images. The system
    scratch takes only the architecture of a backbone"""
    width: Annotated[int, Count, _SMALL] = 16
    """channels of the small backbone's first stage"""
    blocks: Annotated[int, Count, _SMALL] = 3
    """residual blocks per stage of the small backbone"""
    examples: Annotated[int | None, Count] = None
    """images of each class of the target to train on; None: all"""
    image_size: Annotated[int | None, Count] = None
    """side of the square that images are fitted into, in pixels; None: what suits the data set and the backbone"""
    weight_decay: Annotated[float, NotNegative] = 5e-3
    """decoupled weight decay of the optimizer"""
    augment: bool = True
    """shift the training images, and mirror them where that makes sense"""

    @property
    def has_source(self):
        """Whether there is a source's task, which the backbone learns before the target's or at the same time."""
        return _LEARNS_SOURCE.holds(self.backbone)


class Pretrained(Config):
    """What the systems share that begin with a pretrained backbone."""

    DATASETS: ClassVar = {"digits": dict(source_epochs=30)}

    source: Annotated[str | None, _LEARNS_SOURCE] = None
    """data set of the task that is learned first; None: the target's, of which each task has half of the classes"""
    source_epochs: Annotated[int, Count, _LEARNS_SOURCE, When("initialize", None)] = 20
    """passes over the source's training images"""
    source_learning_rate: Annotated[float, Positive, _LEARNS_SOURCE, When("initialize", None)] = 0.1
    """peak learning rate of the pretraining"""

    def pretraining(self):
        """Returns the settings by which a network learns the source's task, from random weights."""
        shared = {field.name: getattr(self, field.name) for field in dataclasses.fields(Scratch)}
        return Scratch(**shared | dict(
            model=Scratch.model, epochs=self.source_epochs, learning_rate=self.source_learning_rate,
            validate_every=self.source_epochs))


class AllLayers(Pretrained, model="all_layers", ids=("C9",)):
    """Every layer goes on learning from pretrained weights (Yosinski et al., 2014)."""

    learning_rate = 0.03


class HigherLayers(Pretrained, model="higher_layers", ids=("C9",)):
    """The last layers and the classifier learn, the others keep pretrained weights."""

    SPACE: ClassVar = Config.SPACE | {"higher": ("choice", 1, 2, 4, 8)}

    higher: Annotated[int, Count] = 3
    """layers with kernels that learn, counted from the last one of the backbone"""


class ClassifierOnly(Pretrained, model="classifier_only", ids=("C9",)):
    """Only the classifier learns, on pretrained features."""


class Scratch(Config, model="scratch", ids=("C9",)):
    """The same network from random weights, the baseline."""


class MultiTask(Config, model="multi_task", ids=("C10",)):
    """Both tasks at once by one backbone with a classifier for each (Caruana, 1997)."""

    DATASETS: ClassVar = {"digits": dict(epochs=30)}

    source: str | None = None
    """data set of the other task; None: the target's, of which each task has half of the classes"""

    @property
    def has_source(self):
        """Whether there is a source's task: always, whatever the backbone is."""
        return True


class Regimes(training.Experiment, Data):
    """Every system against the number of target images, in a table and a picture."""

    dataset: str = "digits"
    """data set of the target's task, see the flag --dataset of training"""
    source: str | None = None
    """data set of the task that is learned first; None: the target's, of which each task has half of the classes"""
    sizes: Annotated[tuple[int, ...], Count] = (1, 3, 10, 30, 100)
    """images of each class of the target"""
    seeds: Annotated[int, Count] = 3
    """trainings of each kind, of which the mean counts"""
    epochs: Annotated[int | None, Count] = None
    """passes of each training on the target alone; None: each system's own"""
    source_epochs: Annotated[int | None, Count] = None
    """passes over the source's training images, in pretraining and in multi_task; None: those that suit the data set"""
    name: str | None = "regimes"
    """name of the report's folder"""
