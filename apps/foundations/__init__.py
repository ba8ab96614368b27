"""Tells a class or a number from a table's columns: the models that everything else is built on, and how they are trained.

    python -m apps.foundations
    python -m apps.foundations --model linear
    python -m apps.foundations generative
    python -m apps.foundations bias_variance
    python -m apps.foundations folds
    python -m apps.foundations optimizers
    python -m apps.foundations predict table.csv

Data:    tabular/diabetes, tabular/breast_cancer, tabular/iris, tabular/wine (embedded), and TFDS's sets of one row of
         numbers with one class or number an example.
Systems: softmax, logistic, linear, naive_bayes, discriminant.
Result:  the largest difference from what numpy or scikit-learn finds, accuracy or error on the test split; see RESULTS.md.
"""
import dataclasses
from typing import Literal

import training

SYSTEMS = {
    "softmax": "F2: softmax regression by Nesterov's accelerated gradient descent",
    "logistic": "F2: logistic regression by Nesterov's accelerated gradient descent",
    "linear": "F1: linear regression by Nesterov's accelerated gradient descent",
    "naive_bayes": "F3: Gaussian naive Bayes, counted in one pass",
    "discriminant": "F3: linear discriminant analysis, counted in one pass",
}

VERBS = {
    "generative": "F3: learning curves of generative and discriminative classifiers, and where they cross",
    "bias_variance": "F4: bias, variance and noise against capacity, and whether they add up to the error",
    "folds": "F5: C by cross-validation, coarse to fine, judged once on test",
    "optimizers": "F6: paths of eight optimisers and Newton's method over a bowl, a valley and a saddle",
}

OBJECTIVE = ("loss", "min")
"""what validation chooses by"""

SPACE = {"c": ("log", 1e-3, 1e3)}
"""what `search` tries"""

POSITIVE = ("passes",)
"""settings that must be above 0"""


@dataclasses.dataclass(frozen=True)
class Config(training.Config):
    """Regression and classification of table rows. All weights are float64, whatever the precision."""

    model: Literal["softmax", "logistic", "linear", "naive_bayes", "discriminant"] = "softmax"
    """the system to train"""
    dataset: str | None = None
    """tabular/diabetes, tabular/breast_cancer, tabular/iris, tabular/wine, … (default: one that suits the system)"""
    dtype: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """has no effect here"""
    batch_size: int | None = None
    """examples per step, over all replicas (default: the whole training split)"""
    learning_rate: float | None = None
    """step size (default: 1 / the bound of the Hessian's largest eigenvalue)"""
    columns: tuple[str, ...] = ()
    """columns to tell it from, by name; without any, all"""
    c: float | Literal["none"] | None = None
    """weakness of the penalty |weights|^2 / (2 c) beside the sum of the losses, as in scikit-learn; none: no penalty"""
    passes: int | None = None
    """passes over the training split that make an epoch"""
    shared_variances: bool | None = None
    """give the classes of naive Bayes one variance for each column, not each its own"""
    momentum: float | None = None
    """share of the last step that is taken again (default: by the condition of the Hessian)"""


@dataclasses.dataclass(frozen=True)
class Generative(training.Experiment):
    """Draws how often naive Bayes, discriminant analysis and logistic regression err by the size of their training set."""

    datasets: tuple[str, ...] = ("simulated", "tabular/breast_cancer", "tabular/iris")
    """classification sets; simulated: two classes of Gaussian columns that depend on one another"""
    resamples: int = 100
    """training sets drawn per size"""
    c: float = 1000.0
    """weakness of the penalty of logistic regression; a weak one, for it is a part of neither model"""
    data_dir: str | None = None
    """folder of prepared TFDS data sets"""


@dataclasses.dataclass(frozen=True)
class BiasVariance(training.Experiment):
    """Measures bias, variance and noise of polynomial and of ridge regression on a known function, against capacity."""

    examples: int = 30
    """points of a training set"""
    deviation: float = 0.3
    """of the noise"""
    resamples: int = 1000
    """training sets"""
    degrees: int = 11
    """highest degree of the polynomials; ridge regression takes this one"""


@dataclasses.dataclass(frozen=True)
class Folds(training.Experiment):
    """Chooses C by cross-validation over train and validation, first coarse, then fine; judges it once on test."""

    model: Literal["softmax", "logistic", "linear"] = "logistic"
    """the system"""
    dataset: str | None = None
    """name of a data set (default: one that suits the system)"""
    folds: int = 10
    """parts, each of which is left out once"""
    coarse: int = 9
    """values of C from 1e-4 to 1e4"""
    fine: int = 9
    """values of C between the neighbours of the best coarse one"""
    data_dir: str | None = None
    """folder of prepared TFDS data sets"""


@dataclasses.dataclass(frozen=True)
class Optimizers(training.Experiment):
    """Draws the paths of optimisers over surfaces of two dimensions, and prints how fast Newton's method converges."""

    steps: int = 300
    """of each optimiser; Newton's method stops when it is there"""
    noise: float = 2.0
    """deviation of the noise on the first gradient that SGD sees; it falls with the steps as --gradient-noise does"""
    data_dir: str | None = None
    """folder of prepared TFDS data sets"""


def defaults(model, dataset):
    """Returns the settings that `model` reads and their values for `dataset`."""
    suited = {"linear": "tabular/diabetes", "logistic": "tabular/breast_cancer"}
    values = dict(dataset=suited.get(model, "tabular/wine"), epochs=1)
    if model == "naive_bayes":
        return values | dict(shared_variances=False)
    if model == "discriminant":
        return values
    return values | dict(epochs=20, passes=100, c="none" if model == "linear" else 1.0, momentum=None)
