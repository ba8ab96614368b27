"""Linear regression (F1)."""
import tensorflow as tf

from apps.foundations import regression

BOUND = 1.0
"""the second derivative of the loss"""


def build_model(config, spec, steps):
    """Returns a compiled LinearRegression; its optimizer does not depend on the number of steps."""
    info = spec.info
    model = LinearRegression(len(info.columns), spec.targets["target"].shape[1], mean=info.mean, std=info.std,
                             penalty=regression.penalty_of(config.c, info.examples))
    model.compile(regression.optimizer(config, info, BOUND))
    return model


class LinearRegression(regression.Regression):
    """Linear regression: {"features": (batch, columns)} -> {"target": (batch, targets)}.

        target = (x - mean) / std W + b

    Without a penalty it is ordinary least squares, with a penalty ridge regression, scikit-learn's Ridge(alpha=1/c).

    columns: number of columns of the table
    targets: numbers to predict for each example
    mean, std, penalty: see `regression.Regression`

    Example:
        >>> import numpy as np
        >>> from apps.foundations.linear import LinearRegression
        >>> model = LinearRegression(4)
        >>> model({"features": np.zeros((3, 4))})["target"].shape
        TensorShape([3, 1])

    Source: Bishop, 2006, "Pattern Recognition and Machine Learning", section 3.1.
    """

    def __init__(self, columns, targets=1, *, mean=0.0, std=1.0, penalty=0.0):
        super().__init__(columns, targets, "target", loss, mean=mean, std=std, penalty=penalty, name="linear")


def loss(target, output):
    """Returns half the squared error of each example."""
    return tf.reduce_sum((target - output) ** 2, axis=-1) / 2
