"""Learns a task from few images with what was learnt from another task.

    python -m apps.transfer
    python -m apps.transfer --model classifier_only --examples 5
    python -m apps.transfer --dataset cifar10_subset --manual-dir DATA --trunk RUN
    python -m apps.transfer regimes
    python -m apps.transfer predict photo.png

Data:    digits (embedded), cifar10_subset, image_folder, and TFDS's mnist, fashion_mnist and others with one label an image.
         Where a source is learnt and no other set is named by --source, the first half of the classes is the source's task and
         the other half the target's.
Systems: all_layers, higher_layers, classifier_only, scratch, multi_task.
Result:  accuracy on the target's test split; see RESULTS.md.
"""
import dataclasses
import math
from typing import Literal

import training
from training import datasets

SYSTEMS = {
    "all_layers": "C9: every layer goes on learning from pretrained weights (Yosinski et al., 2014)",
    "higher_layers": "C9: the last layers and the classifier learn, the others keep pretrained weights",
    "classifier_only": "C9: only the classifier learns, on pretrained features",
    "scratch": "C9: the same network from random weights, the baseline",
    "multi_task": "C10: both tasks at once by one trunk with a classifier for each (Caruana, 1997)",
}

VERBS = {"regimes": "every system against the number of target images, in a table and drawn"}

APPLICATIONS = ("mobilenet_v2", "resnet50_v2", "densenet121")
"""networks of keras.applications that `--trunk` takes"""

POSITIVE = ("image_size", "width", "blocks", "higher", "examples", "source_epochs", "source_learning_rate")
"""settings that must be above 0"""

RANGES = {"weight_decay": (0, math.inf)}
"""the least that settings may be, and what they must be below"""

SPACE = {"learning_rate": ("log", 1e-3, 0.5), "higher": ("choice", 1, 2, 4, 8)}
"""what `search` tries"""


@dataclasses.dataclass(frozen=True)
class Config(training.Config):
    """Transfer of what a network has learnt to another task."""

    model: Literal["all_layers", "higher_layers", "classifier_only", "scratch", "multi_task"] = "all_layers"
    """the system to train"""
    dataset: str = "digits"
    """the target's: digits, cifar10_subset, image_folder, or TFDS's mnist, fashion_mnist, …"""
    dtype: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """precision; the small network of small images does not gain by bfloat16"""
    source: str | None = None
    """set of the task that is learnt first (default: the target's, of which each task has half of the classes)"""
    trunk: str = "small"
    """everything below the classifier: small, a residual network that is pretrained on --source; mobilenet_v2, resnet50_v2 or
    densenet121 with ImageNet's weights (fetched with --download); or name or folder of a run of images. Of the last two scratch
    takes the shape only"""
    examples: int | None = None
    """images of each class of the target to train on (default: all)"""
    image_size: int | None = None
    """side of the square that images are fitted into, in pixels (default: what suits the set and the trunk)"""
    width: int | None = None
    """channels of the small trunk's first stage"""
    blocks: int | None = None
    """residual blocks per stage of the small trunk"""
    higher: int | None = None
    """layers with kernels, counted from the last one, that learn in higher_layers"""
    source_epochs: int | None = None
    """passes over the source's training images"""
    source_learning_rate: float | None = None
    """peak step size of the pretraining"""
    weight_decay: float | None = None
    """share of a weight that is taken off per unit of the rate at each step"""
    augment: bool | None = None
    """shift, and where it makes sense mirror, the training images"""


@dataclasses.dataclass(frozen=True)
class Regimes(training.Experiment):
    """Trains every system on growing parts of the target's images, and draws test accuracy against their number."""

    dataset: str = "digits"
    """the target's set, see the app's own --dataset"""
    source: str | None = None
    """set of the task that is learnt first (default: the target's, of which each task has half of the classes)"""
    data_dir: str | None = None
    """folder of prepared TFDS data sets"""
    manual_dir: str | None = None
    """folder of data sets that are fetched by hand"""
    sizes: tuple[int, ...] = (1, 3, 10, 30, 100)
    """images of each class of the target"""
    seeds: int = 3
    """trainings of each kind, of which the mean counts"""
    epochs: int | None = None
    """of each training on the target alone (default: each system's own)"""
    source_epochs: int | None = None
    """passes over the source's training images, in pretraining and in multi_task (default: the set's own)"""
    name: str | None = "regimes"
    """name of the report's folder"""


def defaults(model, dataset):
    """Returns the settings that `model` reads and their values for `dataset`."""
    name = dataset.partition("/")[0]
    is_grey = name in datasets.GREY
    both = dict(source_epochs=30 if name == "digits" else 20, source_learning_rate=0.1)
    values = dict(epochs=20, batch_size=64, examples=None, image_size=None, width=16, blocks=1 if is_grey else 3,
                  weight_decay=5e-3, augment=name != "mnist", learning_rate=0.1)
    if model == "scratch":
        return values
    if model == "multi_task":
        return values | dict(source=None, epochs=both["source_epochs"])
    values |= both | dict(source=None)
    if model == "all_layers":
        return values | dict(learning_rate=0.03)
    return values | (dict(higher=3) if model == "higher_layers" else {})


def unread(config):
    """Returns the settings that are not read beside another one's value: {name: that one's name}."""
    if config.trunk == "small":
        return {}
    of_the_source = () if config.model == "multi_task" else ("source", "source_epochs", "source_learning_rate")
    return dict.fromkeys(("width", "blocks", *of_the_source), "trunk")
