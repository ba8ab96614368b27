"""The settings of all systems and verbs of this application. Importing this module does not import TensorFlow."""
import dataclasses
from typing import Annotated, ClassVar, Literal

import training
from training import datasets
from training.config import Count, Data, NotNegative, Positive, Unless, UserError


class Config(training.Config):
    """Settings shared by all ensembles."""

    MONITOR: ClassVar = ("accuracy", "max")
    BFLOAT16: ClassVar = False  # these networks are too small
    BEST_WEIGHTS: ClassVar = False  # the last weights are those of all members, at the end of their rates
    STAGED: ClassVar[bool] = False
    """whether the members are trained one after another, each with its own epochs"""
    EVALUATING: ClassVar[bool] = False
    """whether the last epoch (of each member where STAGED) only evaluates the training examples"""
    DATASETS: ClassVar = {name: dict(image_size=28) for name in datasets.GRAY} | {"digits": dict(image_size=8)}
    SPACE: ClassVar = {"learning_rate": ("log", 0.003, 1.0), "weight_decay": ("log", 1e-6, 1e-2),
                       "hidden": ("choice", 8, 16, 32, 64, 128)}

    dataset: str = "digits"
    """digits, cifar10_subset, image_folder, or TFDS's mnist, fashion_mnist, …"""
    batch_size = 64
    image_size: Annotated[int, Count] = 32
    """side length, in pixels, of the square that each image is resized to fit"""
    members: Annotated[int, Count] = 5
    """number of networks in the ensemble"""
    hidden: Annotated[int, NotNegative] = 64
    """ReLU units per hidden layer; 0 removes the hidden layers, which gives softmax regression"""
    depth: Annotated[int, Count, Unless("hidden", 0)] = 2
    """number of hidden layers in each network"""
    weight_decay: Annotated[float, NotNegative] = 1e-4
    """L2 regularization: this fraction of each weight is added to its gradient"""

    def check_epochs(self):
        """Checks that the epochs can be divided among the members.

        Raises:
            UserError: they cannot.
        """
        stages, least = self.members if self.STAGED else 1, 1 + self.EVALUATING
        if self.epochs % stages == 0 and self.epochs // stages >= least:
            return
        if self.STAGED:
            raise UserError(f"--epochs {self.epochs} must be a multiple of --members {self.members} for {self.model}: each "
                            f"member has its own epochs" + (f", at least {least}" if least > 1 else ""))
        raise UserError(f"--epochs {self.epochs} must be at least {least} for {self.model}, whose last epoch only evaluates")

    def shortened(self, share):
        """Returns these settings with 1/`share` of the epochs, or of the epochs of each member if it has its own."""
        stages = self.members if self.STAGED else 1
        if self.epochs % stages:
            return self  # is refused where the model is built
        epochs = stages * max(1 + self.EVALUATING, self.epochs // stages // share)
        return dataclasses.replace(self, epochs=min(self.epochs, epochs))


class Averaged(Config):
    """Settings shared by the ensembles whose members all learn the same task."""

    epochs = 30
    learning_rate = 0.1
    combine: Literal["probabilities", "vote", "parameters"] = "probabilities"
    """how to combine the members: average their probabilities, take a majority vote, or average their weights"""


class Independent(Averaged, model="independent", ids=("C12",)):
    """Networks trained from different initial weights (Hansen and Salamon, 1990)."""


class Snapshots(Averaged, model="snapshots", ids=("C12",)):
    """Snapshots of one network at the end of each learning-rate cycle (Huang et al., 2017; Izmailov et al., 2018)."""

    STAGED: ClassVar = True

    epochs = 50
    learning_rate = 0.25
    weight_decay = 1e-3


class Bagging(Averaged, model="bagging", ids=("C11",)):
    """Bagging: networks trained on bootstrap samples (Breiman, 1996)."""

    EVALUATING: ClassVar = True

    members = 10
    combine: Literal["probabilities", "vote"] = "probabilities"
    """how to combine the members: average their probabilities or take a majority vote"""


class Boosted(Config):
    """Settings shared by the ensembles whose members correct earlier ones."""

    STAGED: ClassVar = True

    epochs = 200
    validate_every = 10
    members = 20
    depth = 1


class AdaBoost(Boosted, model="adaboost", ids=("C11",)):
    """AdaBoost: each network concentrates on the errors of earlier ones, by SAMME (Zhu et al., 2009)."""

    EVALUATING: ClassVar = True

    learning_rate = 0.01
    hidden = 16


class GradientBoosting(Boosted, model="gradient_boosting", ids=("C11",)):
    """Gradient boosting: each network fits the residuals of earlier ones (Friedman, 2001)."""

    SPACE: ClassVar = Config.SPACE | {"shrinkage": ("log", 0.1, 10.0)}

    learning_rate = 0.03  # least squares is steeper than cross-entropy
    shrinkage: Annotated[float, Positive] = 1.0
    """factor by which each member's correction is multiplied"""


class Compare(training.Experiment, Data):
    """Compare the test accuracy of all ensembles over several seeds, and plot the error against the number of members."""

    dataset: str = "digits"
    """a small data set of labeled images; all training images are kept in memory"""
    epochs: Annotated[int | None, Count] = None
    """epochs for every system; None: the default of each system"""
    seeds: Annotated[int, Count] = 3
    """ensembles to train of each kind; the report shows the median"""
    name: str | None = "compare"
    """name of the report's folder"""
