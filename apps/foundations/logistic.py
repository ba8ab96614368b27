"""Logistic regression (F2)."""
from keras import ops

from apps.foundations import regression

BOUND = 1 / 4
"""upper bound of p (1 - p)"""


def build_model(config, spec, steps):
    """Returns a compiled LogisticRegression; its optimizer does not depend on the number of steps."""
    info = spec.info
    model = LogisticRegression(len(info.columns), mean=info.mean, std=info.std,
                               penalty=regression.penalty_of(config.c, info.examples))
    model.compile(regression.optimizer(config, info, BOUND))
    return model


class LogisticRegression(regression.Regression):
    """Logistic regression: {"features": (batch, columns)} -> {"label": logits (batch, 2)}, where the first logit is 0.

        P(second class | x) = 1 / (1 + exp(-((x - mean) / std w + b)))

    columns: number of columns of the table
    mean, std, penalty: see `regression.Regression`

    Example:
        >>> import numpy as np
        >>> from apps.foundations.logistic import LogisticRegression
        >>> model = LogisticRegression(4)
        >>> model({"features": np.zeros((3, 4))})["label"].shape
        TensorShape([3, 2])

    Source: Bishop, 2006, "Pattern Recognition and Machine Learning", section 4.3.2; the objective and c are those of
    scikit-learn's LogisticRegression.
    """

    def __init__(self, columns, *, mean=0.0, std=1.0, penalty=0.0):
        super().__init__(columns, 1, "label", regression.cross_entropy, finish=logits, mean=mean, std=std, penalty=penalty,
                         name="logistic")


def logits(z):
    """Returns the logits of both classes, (batch, 2), from the logit of the second one, (batch, 1)."""
    return ops.concatenate([ops.zeros_like(z), z], axis=-1)
