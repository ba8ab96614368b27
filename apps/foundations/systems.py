"""The settings of every system and experiment of this application; importing this module imports no TensorFlow."""
import dataclasses
from typing import Annotated, ClassVar, Literal

import training
from training.config import Count, Data, Fraction, NotNegative, Positive, Range, Settings, When


class Config(training.Config):
    """What all systems share. All weights are float64, whatever the precision."""

    # the minimum on the training split is what is asked for, not the best on validation
    MONITOR: ClassVar = ("loss", "min")
    BEST_WEIGHTS: ClassVar = False

    dataset: str = "tabular/wine"
    """tabular/diabetes, tabular/breast_cancer, tabular/iris, tabular/wine, or one of TFDS's tables"""
    dtype: Literal["float32"] = "float32"
    """has no effect here"""
    batch_size: Annotated[int | None, Count] = None
    """examples per step, over all replicas; None: the whole training split"""
    columns: tuple[str, ...] = ()
    """columns to predict from, by name; without any, all"""


class Trained(Config):
    """What the systems share that go down the gradient of a loss with a penalty."""

    SPACE: ClassVar = {"c": ("log", 1e-3, 1e3)}

    epochs: Annotated[int, Count] = 20
    """epochs, each of which is --passes passes over the training split"""
    learning_rate: Annotated[float | None, Positive] = None
    """step size; None: 1 / the bound of the Hessian's largest eigenvalue"""
    c: Annotated[float | Literal["none"], Positive] = 1.0
    """weakness of the penalty |weights|^2 / (2 c) beside the sum of the losses, as in scikit-learn; none: no penalty"""
    passes: Annotated[int, Count] = 100
    """passes over the training split that make an epoch"""
    momentum: Annotated[float | None, Fraction] = None
    """share of the last step that is taken again; None: by the condition of the Hessian"""


class Counted(Config):
    """What the systems share whose weights are counted in one pass over the training split."""

    epochs = 1
    learning_rate: Annotated[float | None, When("model", "softmax", "logistic", "linear")] = None
    """has no effect here: the weights are counted"""


class SoftmaxRegression(Trained, model="softmax", ids=("F2",)):
    """Softmax regression by Nesterov's accelerated gradient descent."""


class LogisticRegression(Trained, model="logistic", ids=("F2",)):
    """Logistic regression by Nesterov's accelerated gradient descent."""

    dataset = "tabular/breast_cancer"


class LinearRegression(Trained, model="linear", ids=("F1",)):
    """Linear regression by Nesterov's accelerated gradient descent."""

    dataset = "tabular/diabetes"
    c = "none"


class NaiveBayes(Counted, model="naive_bayes", ids=("F3",)):
    """Gaussian naive Bayes, counted in one pass."""

    shared_variances: bool = False
    """give the classes one variance for each column, not each its own"""


class LDA(Counted, model="lda", ids=("F3",)):
    """Linear discriminant analysis, counted in one pass."""


class Tables(Settings):
    """Where an experiment finds its tables."""

    data_dir: str = dataclasses.field(default_factory=lambda: Data().data_dir)
    """folder of prepared TFDS data sets"""


class Generative(training.Experiment, Tables):
    """Learning curves of generative and discriminative classifiers, and where they cross (F3).

    Measures how often naive Bayes, linear discriminant analysis and logistic regression err by the size of their training set.
    """

    datasets: tuple[str, ...] = ("simulated", "tabular/breast_cancer", "tabular/iris")
    """classification sets; simulated: two classes of Gaussian columns that depend on one another"""
    resamples: Annotated[int, Range(2)] = 100
    """training sets drawn per size"""
    c: Annotated[float, Positive] = 1000.0
    """weakness of the penalty of logistic regression; a weak one, since it is part of neither model"""


class BiasVariance(training.Experiment):
    """Bias, variance and noise against capacity, and whether they add up to the error (F4).

    Measures them for polynomial and ridge regression on a known function.
    """

    examples: Annotated[int, Count] = 30
    """points of a training set"""
    std: Annotated[float, NotNegative] = 0.3
    """standard deviation of the noise"""
    resamples: Annotated[int, Range(2)] = 1000
    """training sets"""
    degrees: Annotated[int, Count] = 11
    """highest degree of the polynomials; ridge regression takes this one"""


class CrossValidation(training.Experiment, Tables):
    """C by cross-validation, coarse to fine, evaluated once on test (F5).

    Chooses C by cross-validation over train and validation, first coarse, then fine; evaluates it once on test.
    """

    model: Literal["softmax", "logistic", "linear"] = "logistic"
    """the system"""
    dataset: str | None = None
    """name of a data set; None: the system's own"""
    folds: Annotated[int, Range(2)] = 10
    """parts, each of which is left out once"""
    coarse: Annotated[int, Range(3)] = 9
    """values of C from 1e-4 to 1e4"""
    fine: Annotated[int, Range(3)] = 9
    """values of C between the neighbors of the best coarse one"""


class Optimizers(training.Experiment, Tables):
    """Paths of eight optimizers and Newton's method over a bowl, a valley and a saddle (F6).

    Renders the paths over these surfaces of two dimensions, and prints how fast Newton's method converges.
    """

    steps: Annotated[int, Count] = 300
    """steps of each optimizer; Newton's method stops when it is there"""
    noise: Annotated[float, NotNegative] = 2.0
    """standard deviation of the noise on the first gradient that SGD sees; it falls with the steps as --gradient-noise does"""
