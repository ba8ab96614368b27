"""Says what an image shows: one class out of several.

    python -m apps.classification
    python -m apps.classification --dataset mnist --model lenet5 --data-dir DATA
    python -m apps.classification predict photo.jpg

Data:    digits (embedded), cifar10_subset, image_folder, and TFDS's mnist, fashion_mnist and others with one label an image.
Systems: resnet, lenet5, alexnet, vgg16, maxout, dense_maxout, softmax.
Result:  accuracy on the test split; see RESULTS.md.
"""
import dataclasses
import math
from typing import Literal

import training
from training import datasets

SYSTEMS = {
    "resnet": "C4: residual network (He et al., 2016)",
    "lenet5": "C1: LeNet-5 (LeCun et al., 1998)",
    "alexnet": "C2: AlexNet (Krizhevsky et al., 2012)",
    "vgg16": "C3: VGG-16 (Simonyan and Zisserman, 2015)",
    "maxout": "C5: convolutional maxout network with dropout (Goodfellow et al., 2013)",
    "dense_maxout": "C5: fully connected maxout network with dropout (Goodfellow et al., 2013)",
    "softmax": "baseline: softmax regression on pixels",
}

VERBS = {"depths": "where training dies: depth, activation, initialisation and normalisation against each other"}

POSITIVE = ("image_size", "width", "blocks", "pieces")
"""settings that must be above 0"""

RANGES = {"dropout": (0, 1), "label_smoothing": (0, 1), "erase": (0, 1), "adversarial": (0, 1), "weight_decay": (0, math.inf),
          "gradient_noise": (0, math.inf)}
"""the least that settings may be, and what they must be below"""


@dataclasses.dataclass(frozen=True)
class Config(training.Config):
    """Image classification."""

    model: Literal["resnet", "lenet5", "alexnet", "vgg16", "maxout", "dense_maxout", "softmax"] = "resnet"
    """the system to train"""
    dataset: str = "digits"
    """digits, cifar10_subset, image_folder, or TFDS's mnist, fashion_mnist, …"""
    image_size: int | None = None
    """side of the square that images are fitted into, in pixels (default: what suits the set, or the paper's with full_size)"""
    full_size: bool | None = None
    """the paper's input, widths and layers; else a small network for small images"""
    width: int | None = None
    """channels of the first stage, or units of each fully connected layer"""
    blocks: int | None = None
    """residual blocks per stage"""
    pieces: int | None = None
    """affine functions that a maxout unit chooses among"""
    activation: Literal["sigmoid", "tanh", "relu", "leaky_relu", "prelu", "elu", "maxout"] | None = None
    """what follows each affine layer"""
    initializer: Literal["small", "large", "uniform", "lecun", "glorot", "he"] | None = None
    """initial weights of every layer but the last one, whose are each system's own: normal with deviation 0.01 or 1, uniform
    between -0.03 and 0.03, or normal with variance 1/fan_in, 2/(fan_in + fan_out), 2/fan_in"""
    normalization: Literal["none", "batch", "local_response"] | None = None
    """of activations: by batch, or AlexNet's by neighbouring channels"""
    dropout: float | None = None
    """share of units left out in training"""
    dropout_scaling: Literal["inverted", "classic"] | None = None
    """scale what is kept in training, or everything when answering"""
    optimizer: Literal["sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adam"] | None = None
    """how gradients become steps; the rate rises for a tenth of the steps and falls to 0 as a cosine. Newton's method, which
    needs products with the Hessian of the whole set, is in `python -m apps.foundations optimizers`"""
    weight_decay: float | None = None
    """share of a weight that is taken off per unit of the rate at each step"""
    gradient_noise: float = 0.0
    """variance of the noise on the first step's gradients; it falls with the steps"""
    label_smoothing: float | None = None
    """share of the target's probability spread over all classes"""
    adversarial: float = 0.0
    """how far each pixel of a second copy of every image is moved against the network, as a share of white; doubles the work"""
    augment: bool | None = None
    """shift, and where it makes sense mirror, the training images"""
    erase: float | None = None
    """side of a square that is blanked in each augmented image, as a share of the image's"""
    train_on_all: bool = False
    """train on the validation split too and keep the last weights: for settings that were chosen before"""


@dataclasses.dataclass(frozen=True)
class Depths(training.Experiment):
    """Trains plain networks of every depth, activation, initialisation and normalisation, and draws where training dies."""

    dataset: str = "digits"
    """a small set; all its training images are kept in memory"""
    data_dir: str | None = None
    """folder of prepared TFDS data sets"""
    manual_dir: str | None = None
    """folder of data sets that are fetched by hand"""
    depths: tuple[int, ...] = (2, 8, 32)
    """hidden layers"""
    units: int = 64
    """of each hidden layer"""
    epochs: int = 15
    """passes over the training split"""
    seeds: int = 3
    """networks of each kind, of which the median counts"""
    name: str | None = "depths"
    """name of the report's folder"""


SPACE = {"learning_rate": ("log", 1e-4, 0.5), "weight_decay": ("log", 1e-5, 0.1), "dropout": ("linear", 0.0, 0.7),
         "label_smoothing": ("linear", 0.0, 0.2), "optimizer": ("choice", "nesterov", "adam", "rmsprop")}
"""what `search` tries"""


def defaults(model, dataset):
    """Returns the settings that `model` reads and their values for `dataset`."""
    name = dataset.partition("/")[0]
    small = name in (*datasets.GREY, "cifar10_subset", "cifar10", "cifar100", "svhn_cropped")
    size = 28 if name in datasets.GREY else 32 if small else 128
    values = dict(epochs=20, batch_size=64, image_size=size, weight_decay=0.0, label_smoothing=0.0, augment=False, erase=0.0)
    if name == "digits":
        values |= dict(epochs=30)
    if model == "softmax":
        return values | dict(optimizer="adam", learning_rate=3e-3)
    values |= dict(dropout_scaling="inverted", initializer="he", optimizer="adam", learning_rate=2e-3)
    if model == "lenet5":
        return values | dict(activation="tanh", initializer="lecun", dropout=0.0, weight_decay=0.05)
    if model == "maxout":
        return values | dict(pieces=2, width=48, dropout=0.5, initializer="uniform",
                             **(dict(epochs=45, learning_rate=1e-3) if name == "mnist" else {}))
    if model == "dense_maxout":
        return values | dict(pieces=5, width=240, dropout=0.5, initializer="uniform", optimizer="momentum", learning_rate=0.025,
                             **(dict(epochs=250, batch_size=100) if name == "mnist" else {}))
    values |= dict(activation="relu", full_size=False, augment=name not in ("digits", "mnist"))
    if model == "resnet":
        is_grey = name in datasets.GREY
        values |= dict(width=16, blocks=1 if is_grey else 3, normalization="batch", dropout=0.0, optimizer="nesterov",
                       learning_rate=0.1, weight_decay=5e-3, epochs=values["epochs"] if is_grey else 60)
        if name == "fashion_mnist":
            values |= dict(width=32, epochs=16)
        return values | dict(erase=0.5 if name in ("cifar10_subset", "cifar10") else 0.0)
    if model == "alexnet":
        return values | dict(width=24, normalization="local_response", dropout=0.5)
    return values | dict(width=32, normalization="batch", dropout=0.5)


def unread(config):
    """Returns the settings that are not read beside another one's value: {name: that one's name}."""
    of_the_paper = {"width": "full_size", "blocks": "full_size"} if config.full_size else {}
    return of_the_paper | ({"erase": "augment"} if config.erase and not config.augment else {})


def following(config):
    """Returns what follows from another setting that is given: {name: value}, each in place of its default."""
    return {"image_size": 227 if config.model == "alexnet" else 224} if config.full_size else {}
