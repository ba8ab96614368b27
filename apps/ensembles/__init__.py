"""Says what an image shows by many small networks together, which err less than one of them.

    python -m apps.ensembles
    python -m apps.ensembles --model snapshots --combine parameters
    python -m apps.ensembles --model adaboost --dataset mnist --data-dir DATA
    python -m apps.ensembles compare
    python -m apps.ensembles predict photo.png

Data:    digits (embedded), cifar10_subset, image_folder, and TFDS's mnist, fashion_mnist and others with one label an image.
Systems: independent, snapshots, bagging, adaboost, gradient_boosting; a member is fully connected: pixels ->
         `depth` times `hidden` ReLU -> classes.
Result:  accuracy on the test split, of the members and of them together; see RESULTS.md.
"""
import dataclasses
import math
from typing import Literal

import training
from training import datasets

SYSTEMS = {
    "independent": "C12: networks from different initial weights, by probabilities, vote or parameters",
    "snapshots": "C12: one network at the ends of the cycles of its rate (Huang et al., 2017; mean: Izmailov et al., 2018)",
    "bagging": "C11: networks on bootstrap samples (Breiman, 1996)",
    "adaboost": "C11: each network on what the ones before it got wrong, by SAMME (Zhu et al., 2009)",
    "gradient_boosting": "C11: each network on the residuals of the ones before it (Friedman, 2001)",
}

STAGED = ("snapshots", "adaboost", "gradient_boosting")
"""systems whose members are trained one after the other, each in epochs of its own"""

JUDGING = ("bagging", "adaboost")
"""systems whose last epoch, of each member in STAGED, trains nothing: it judges the examples"""

VERBS = {"compare": "every way to put networks together in one table, over several seeds, and drawn against their number"}

POSITIVE = ("members", "image_size", "shrinkage", "depth")
"""settings that must be above 0"""

RANGES = {"weight_decay": (0, math.inf), "hidden": (0, math.inf)}
"""the least that settings may be, and what they must be below"""

OBJECTIVE = ("accuracy", "max")
"""what validation chooses settings by; of a training the last weights count"""

SPACE = {"learning_rate": ("log", 0.003, 1.0), "weight_decay": ("log", 1e-6, 1e-2), "shrinkage": ("log", 0.1, 10.0),
         "hidden": ("choice", 8, 16, 32, 64, 128)}
"""what `search` tries"""


@dataclasses.dataclass(frozen=True)
class Config(training.Config):
    """Ensembles of small networks."""

    model: Literal["independent", "snapshots", "bagging", "adaboost", "gradient_boosting"] = "independent"
    """the system to train"""
    dataset: str = "digits"
    """digits, cifar10_subset, image_folder, or TFDS's mnist, fashion_mnist, …"""
    dtype: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """precision; these networks are too small to gain by bfloat16"""
    image_size: int | None = None
    """side of the square that images are fitted into, in pixels"""
    members: int | None = None
    """networks"""
    hidden: int | None = None
    """ReLU units of each hidden layer; 0: none, which is softmax regression"""
    depth: int | None = None
    """hidden layers of each network"""
    combine: Literal["probabilities", "vote", "parameters"] | None = None
    """average the members' probabilities, let them vote, or average their weights"""
    shrinkage: float | None = None
    """what each correction is multiplied by before it is added"""
    weight_decay: float | None = None
    """what is added to a gradient, as a share of the weight"""


@dataclasses.dataclass(frozen=True)
class Compare(training.Experiment):
    """Trains every ensemble over several seeds, prints one table of test accuracies and draws the error against the members."""

    dataset: str = "digits"
    """a set of labelled images; its training images are kept in memory"""
    data_dir: str | None = None
    """folder of prepared TFDS data sets"""
    manual_dir: str | None = None
    """folder of data sets that are fetched by hand"""
    epochs: int | None = None
    """passes over the training split for every system (default: each system's own)"""
    seeds: int = 3
    """ensembles of each kind, of which the median counts"""
    name: str | None = "compare"
    """name of the report's folder"""


def defaults(model, dataset):
    """Returns the settings that `model` reads and their values for `dataset`."""
    name = dataset.partition("/")[0]
    size = 8 if name == "digits" else 28 if name in datasets.GREY else 32
    values = dict(image_size=size, batch_size=64, hidden=64, weight_decay=1e-4)
    if model in ("adaboost", "gradient_boosting"):
        values |= dict(members=20, depth=1, epochs=200, validate_every=10)
        if model == "adaboost":
            return values | dict(hidden=16, learning_rate=0.01)
        return values | dict(shrinkage=1.0, learning_rate=0.03)  # least squares is steeper than cross-entropy
    values |= dict(combine="probabilities", members=5, depth=2, epochs=30, learning_rate=0.1)
    if model == "snapshots":
        return values | dict(epochs=50, learning_rate=0.25, weight_decay=1e-3)
    return values | (dict(members=10) if model == "bagging" else {})


def shortened(config, share):
    """Returns settings with one part in `share` of the epochs: of each member's where each has its own."""
    stages = config.members if config.model in STAGED else 1
    if config.epochs % stages:
        return config  # is refused where the model is built
    least = 1 + (config.model in JUDGING)
    return dataclasses.replace(config, epochs=min(config.epochs, stages * max(least, config.epochs // stages // share)))
