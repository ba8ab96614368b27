"""The settings of every system of this application; importing this module imports no TensorFlow."""
from typing import Annotated, ClassVar, Literal

import training
from training.config import Count, Data, Fraction, NotNegative, Unless, When
from training.datasets import GRAY


class Config(training.Config):
    """What all classifiers share."""

    MONITOR: ClassVar = ("accuracy", "max")
    DATASETS: ClassVar = {
        **{name: dict(image_size=28) for name in GRAY},
        **{name: dict(image_size=32) for name in ("cifar10_subset", "cifar10", "cifar100", "svhn_cropped")},
        "digits": dict(image_size=28, epochs=30)}
    VARIANTS: ClassVar = {("augment", False): {"erase": 0.0}}
    SPACE: ClassVar = {
        "learning_rate": ("log", 1e-4, 0.5), "weight_decay": ("log", 1e-5, 0.1), "dropout": ("linear", 0.0, 0.7),
        "label_smoothing": ("linear", 0.0, 0.2), "optimizer": ("choice", "nesterov", "adam", "rmsprop")}

    dataset: str = "digits"
    """digits, cifar10_subset, image_folder, or TFDS's mnist, fashion_mnist, …"""
    epochs = 20
    batch_size = 64
    image_size: Annotated[int, Count] = 128
    """side of the square that images are fitted into, in pixels"""
    augment: bool = False
    """shift the training images, and mirror them where a mirror image shows the same"""
    erase: Annotated[float, Fraction, When("augment", True)] = 0.0
    """side of a square that is blanked in each augmented image, as a share of the image's side"""
    train_on_all: bool = False
    """train on the validation split too and keep the last weights: for settings that were chosen before"""
    optimizer: Literal["sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adam"] = "adam"
    """how gradients become steps; the learning rate warms up for a tenth of the steps and decays to 0 as a cosine. Newton's
    method, which needs products with the Hessian of the whole set, is in `python -m apps.foundations optimizers`"""
    weight_decay: Annotated[float, NotNegative] = 0.0
    """share of a weight that is taken off per unit of the learning rate at each step"""
    gradient_noise: Annotated[float, NotNegative] = 0.0
    """variance of the noise on the first step's gradients; it decreases with the steps"""
    label_smoothing: Annotated[float, Fraction] = 0.0
    """share of the target's probability that is spread over all classes"""
    adversarial_epsilon: Annotated[float, Fraction] = 0.0
    """how far each pixel of a second copy of every image is moved against the network, as a share of white; any but 0 doubles
    the work"""


class Network(Config):
    """What the networks with hidden layers share."""

    learning_rate = 2e-3
    initializer: Literal["small", "large", "uniform", "lecun", "glorot", "he"] = "he"
    """initial weights of every layer but the last one, which has each system's own: normal with a standard deviation of 0.01 or
    1, uniform between -0.03 and 0.03, or normal with variance 1/fan_in, 2/(fan_in + fan_out), 2/fan_in"""
    dropout: Annotated[float, Fraction] = 0.5
    """share of units left out in training"""
    dropout_scaling: Annotated[Literal["inverted", "classic"], Unless("dropout", 0.0)] = "inverted"
    """scale what is kept in training, or everything in prediction"""


class Activated(Network):
    """What the networks of affine layers with an activation share."""

    activation: Literal["sigmoid", "tanh", "relu", "leaky_relu", "prelu", "elu", "maxout"] = "relu"
    """function after each affine layer; maxout takes the place of both"""


class Scalable(Activated):
    """What the networks share that can have the size of their paper or a smaller one."""

    DATASETS: ClassVar = {"digits": dict(augment=False), "mnist": dict(augment=False)}
    VARIANTS: ClassVar = {("full_size", True): {"image_size": 224}}

    augment = True
    full_size: bool = False
    """the paper's input, widths and layers, in place of a small network for small images"""
    width: Annotated[int, Count, Unless("full_size", True)] = 32
    """channels of the first stage, to which all other layers are in proportion"""
    normalization: Literal["none", "batch", "local_response"] = "batch"
    """of the activations: over the batch, or AlexNet's over neighboring channels"""


class ResNet(Scalable, model="resnet", ids=("C4",)):
    """Residual network (He et al., 2016)."""

    DATASETS: ClassVar = {
        **{name: dict(epochs=20, blocks=1) for name in GRAY},
        "digits": dict(epochs=30, blocks=1), "fashion_mnist": dict(epochs=16, blocks=1, width=32),
        "cifar10_subset": dict(erase=0.5), "cifar10": dict(erase=0.5)}

    epochs = 60
    learning_rate = 0.1
    optimizer = "nesterov"
    weight_decay = 5e-3
    dropout = 0.0
    width = 16
    blocks: Annotated[int, Count, Unless("full_size", True)] = 3
    """residual blocks per stage"""


class LeNet5(Activated, model="lenet5", ids=("C1",)):
    """LeNet-5 (LeCun et al., 1998)."""

    BFLOAT16: ClassVar = False

    activation = "tanh"
    initializer = "lecun"
    dropout = 0.0
    weight_decay = 0.05


class AlexNet(Scalable, model="alexnet", ids=("C2",)):
    """AlexNet (Krizhevsky et al., 2012)."""

    VARIANTS: ClassVar = {("full_size", True): {"image_size": 227}}

    width = 24
    normalization = "local_response"


class VGG16(Scalable, model="vgg16", ids=("C3",)):
    """VGG-16 (Simonyan and Zisserman, 2015)."""


class Maxout(Network, model="maxout", ids=("C5",)):
    """Convolutional maxout network with dropout (Goodfellow et al., 2013)."""

    DATASETS: ClassVar = {"mnist": dict(epochs=45, learning_rate=1e-3)}

    initializer = "uniform"
    width: Annotated[int, Count] = 48
    """channels of the first and the second layer; the third has half as many"""
    pieces: Annotated[int, Count] = 2
    """affine functions of which a unit takes the largest; units of the third layer have twice as many"""


class DenseMaxout(Network, model="dense_maxout", ids=("C5",)):
    """Fully connected maxout network with dropout (Goodfellow et al., 2013)."""

    DATASETS: ClassVar = {"mnist": dict(epochs=250, batch_size=100)}

    learning_rate = 0.025
    optimizer = "momentum"
    initializer = "uniform"
    width: Annotated[int, Count] = 240
    """units of each layer"""
    pieces: Annotated[int, Count] = 5
    """affine functions of which a unit takes the largest"""


class Softmax(Config, model="softmax"):
    """Softmax regression on pixels, the baseline."""

    BFLOAT16: ClassVar = False

    learning_rate = 3e-3


class Depths(training.Experiment, Data):
    """Trains plain networks of every depth, activation, initializer and normalization, and shows where training dies."""

    dataset: str = "digits"
    """a small set; all its training images are kept in memory"""
    depths: Annotated[tuple[int, ...], Count] = (2, 8, 32)
    """numbers of hidden layers to compare"""
    units: Annotated[int, Count] = 64
    """units of each hidden layer"""
    epochs: Annotated[int, Count] = 15
    """passes over the training split"""
    seeds: Annotated[int, Count] = 3
    """networks of each kind, of which the median counts"""
    name: str | None = "depths"
    """name of the report's folder"""
