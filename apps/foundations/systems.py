"""The settings of all systems and experiments of this application. Importing this module does not import TensorFlow."""
import dataclasses
from typing import Annotated, ClassVar, Literal

import training
from training.config import Count, Data, Fraction, NotNegative, Positive, Range, Settings, When


class Config(training.Config):
    """Settings shared by all systems. All weights are float64, whatever the precision."""

    # the minimum on the training split is what is asked for, not the best on validation
    MONITOR: ClassVar = ("loss", "min")
    BEST_WEIGHTS: ClassVar = False

    dataset: str = "tabular/wine"
    """tabular/diabetes, tabular/breast_cancer, tabular/iris, tabular/wine, or one of TFDS's tables"""
    dtype: Literal["float32"] = "float32"
    """fixed: all computations are in float64"""
    batch_size: Annotated[int | None, Count] = None
    """examples per step over all replicas; None: the whole training split"""
    columns: tuple[str, ...] = ()
    """feature columns; all columns by default"""


class Trained(Config):
    """Settings shared by the systems trained by gradient descent."""

    SPACE: ClassVar = {"c": ("log", 1e-3, 1e3)}

    epochs: Annotated[int, Count] = 20
    """epochs of --passes passes over the training split each"""
    learning_rate: Annotated[float | None, Positive] = None
    """learning rate; None: 1 divided by an upper bound of the Hessian's largest eigenvalue"""
    c: Annotated[float | Literal["none"], Positive] = 1.0
    """inverse regularization strength, as in scikit-learn: the penalty is |weights|^2 / (2 c); none: no penalty"""
    passes: Annotated[int, Count] = 100
    """passes over the training split per epoch"""
    momentum: Annotated[float | None, Fraction] = None
    """momentum coefficient; None: derived from the condition number of the Hessian"""


class Counted(Config):
    """Settings shared by the systems fitted in closed form by one pass over the training split."""

    epochs = 1
    learning_rate: Annotated[float | None, When("model", "softmax", "logistic", "linear")] = None
    """has no effect: the parameters are computed in closed form"""


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
    """Gaussian naive Bayes, fitted in one pass."""

    shared_variances: bool = False
    """share the variance of each column among the classes"""


class LDA(Counted, model="lda", ids=("F3",)):
    """Linear discriminant analysis, fitted in one pass."""


class Tables(Settings):
    """Location of the data of an experiment."""

    data_dir: str = dataclasses.field(default_factory=lambda: Data().data_dir)
    """folder of prepared TFDS data sets"""


class Generative(training.Experiment, Tables):
    """Compare learning curves of generative and discriminative classifiers, and find where they cross (F3).

    Measures the test error of naive Bayes, linear discriminant analysis and logistic regression by training-set size.
    """

    datasets: tuple[str, ...] = ("simulated", "tabular/breast_cancer", "tabular/iris")
    """classification data sets; simulated has two classes of correlated Gaussian columns"""
    resamples: Annotated[int, Range(2)] = 100
    """random training sets per size"""
    c: Annotated[float, Positive] = 1000.0
    """inverse regularization strength of logistic regression; large, since neither model has a penalty"""


class BiasVariance(training.Experiment):
    """Measure bias, variance and noise by model capacity, and check that they add up to the test error (F4).

    Uses polynomial and ridge regression on a known function.
    """

    examples: Annotated[int, Count] = 30
    """points per training set"""
    std: Annotated[float, NotNegative] = 0.3
    """standard deviation of the noise"""
    resamples: Annotated[int, Range(2)] = 1000
    """number of training sets"""
    degrees: Annotated[int, Count] = 11
    """highest polynomial degree, which ridge regression uses"""


class CrossValidation(training.Experiment, Tables):
    """Choose C by cross-validation, coarse to fine, and evaluate it once on the test split (F5).

    Cross-validates over the training and validation splits, first on a coarse grid, then on a fine one.
    """

    model: Literal["softmax", "logistic", "linear"] = "logistic"
    """system to cross-validate"""
    dataset: str | None = None
    """name of a data set; None: the default of the system"""
    folds: Annotated[int, Range(2)] = 10
    """number of folds"""
    coarse: Annotated[int, Range(3)] = 9
    """values of C from 1e-4 to 1e4"""
    fine: Annotated[int, Range(3)] = 9
    """values of C between the neighbors of the best coarse value"""


class Optimizers(training.Experiment, Tables):
    """Plot the paths of eight optimizers and Newton's method over a bowl, a valley and a saddle (F6).

    Prints how fast Newton's method converges.
    """

    steps: Annotated[int, Count] = 300
    """steps of each optimizer; Newton's method stops at convergence"""
    noise: Annotated[float, NotNegative] = 2.0
    """standard deviation of the noise on the first gradient of SGD; it decays as --gradient-noise does"""
