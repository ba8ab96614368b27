"""The settings of all systems of this application. Importing this module does not import TensorFlow."""
from typing import Annotated, ClassVar, Literal

import training
from training.config import Count, Data, Fraction, NotNegative, Unless, When
from training.datasets import GRAY


class Config(training.Config):
    """Settings shared by all classifiers."""

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
    """side length, in pixels, of the square that each image is resized to fit"""
    augment: bool = False
    """randomly shift the training images, and mirror them where a mirror image keeps its class"""
    erase: Annotated[float, Fraction, When("augment", True)] = 0.0
    """side of the square erased from each augmented image, as a fraction of the image's side"""
    train_on_all: bool = False
    """also train on the validation split and keep the last weights; use it once the settings have been chosen"""
    optimizer: Literal["sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adam"] = "adam"
    """optimizer; the learning rate warms up during the first tenth of the steps and then follows a cosine decay to 0"""
    weight_decay: Annotated[float, NotNegative] = 0.0
    """decoupled weight decay: each step reduces a weight by this fraction times the learning rate"""
    gradient_noise: Annotated[float, NotNegative] = 0.0
    """variance of the Gaussian noise added to the gradients at the first step; it decays during training"""
    label_smoothing: Annotated[float, Fraction] = 0.0
    """fraction of the target probability that is spread evenly over all classes"""
    adversarial_epsilon: Annotated[float, Fraction] = 0.0
    """perturbation of the adversarial copy of each image, as a fraction of the pixel range; 0 turns adversarial training
    off, any other value doubles the cost of a step"""


class Network(Config):
    """Settings shared by the networks with hidden layers."""

    learning_rate = 2e-3
    initializer: Literal["small", "large", "uniform", "lecun", "glorot", "he"] = "he"
    """initializer of all layers except the output layer: normal with standard deviation 0.01 (small) or 1 (large), uniform
    between -0.03 and 0.03, or normal with variance 1/fan_in (lecun), 2/(fan_in + fan_out) (glorot) or 2/fan_in (he)"""
    dropout: Annotated[float, Fraction] = 0.5
    """dropout rate"""
    dropout_scaling: Annotated[Literal["inverted", "classic"], Unless("dropout", 0.0)] = "inverted"
    """scale the remaining units during training (inverted), or all units at prediction (classic)"""


class Activated(Network):
    """Settings shared by the networks with an activation function."""

    activation: Literal["sigmoid", "tanh", "relu", "leaky_relu", "prelu", "elu", "maxout"] = "relu"
    """activation function; maxout replaces both the affine layer and the activation"""


class Scalable(Activated):
    """Settings shared by the networks that come in the size of their paper and in a smaller one."""

    DATASETS: ClassVar = {"digits": dict(augment=False), "mnist": dict(augment=False)}
    VARIANTS: ClassVar = {("full_size", True): {"image_size": 224}}

    augment = True
    full_size: bool = False
    """use the paper's input size, widths and depth instead of the small network for small images"""
    width: Annotated[int, Count, Unless("full_size", True)] = 32
    """channels of the first stage; all other layers scale with it"""
    normalization: Literal["none", "batch", "local_response"] = "batch"
    """normalization of the activations: batch normalization, or AlexNet's local response normalization"""


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
    """affine functions over which each unit takes the maximum; the third layer has twice as many per unit"""


class DenseMaxout(Network, model="dense_maxout", ids=("C5",)):
    """Fully connected maxout network with dropout (Goodfellow et al., 2013)."""

    DATASETS: ClassVar = {"mnist": dict(epochs=250, batch_size=100)}

    learning_rate = 0.025
    optimizer = "momentum"
    initializer = "uniform"
    width: Annotated[int, Count] = 240
    """units of each layer"""
    pieces: Annotated[int, Count] = 5
    """affine functions over which each unit takes the maximum"""


class Softmax(Config, model="softmax"):
    """Softmax regression on pixels, the baseline."""

    BFLOAT16: ClassVar = False

    learning_rate = 3e-3


class Depths(training.Experiment, Data):
    """Train plain networks of every depth, activation, initializer and normalization, and show where training fails."""

    dataset: str = "digits"
    """a small data set; all training images are kept in memory"""
    depths: Annotated[tuple[int, ...], Count] = (2, 8, 32)
    """numbers of hidden layers to compare"""
    units: Annotated[int, Count] = 64
    """units of each hidden layer"""
    epochs: Annotated[int, Count] = 15
    """passes over the training split"""
    seeds: Annotated[int, Count] = 3
    """networks to train for each combination; the report shows the median"""
    name: str | None = "depths"
    """name of the report's folder"""
