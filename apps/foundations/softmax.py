"""Softmax regression (F2)."""
from apps.foundations import regression

BOUND = 1 / 2
"""upper bound of the eigenvalues of diag(p) - p p^T"""


def build_model(config, spec, steps):
    """Returns a compiled SoftmaxRegression; its optimizer does not depend on the number of steps."""
    info = spec.info
    model = SoftmaxRegression(len(info.columns), len(info.class_names), mean=info.mean, std=info.std,
                              penalty=regression.penalty_of(config.c, info.examples))
    model.compile(regression.optimizer(config, info, BOUND))
    return model


class SoftmaxRegression(regression.Regression):
    """Softmax regression: {"features": (batch, columns)} -> {"label": logits (batch, classes)}.

        P(class k | x) = exp(z_k) / sum_j exp(z_j),   z = (x - mean) / std W + b

    columns: number of columns of the table
    classes: number of classes
    mean, std, penalty: see `regression.Regression`

    Example:
        >>> import numpy as np
        >>> from apps.foundations.softmax import SoftmaxRegression
        >>> model = SoftmaxRegression(4, 3)
        >>> model({"features": np.zeros((2, 4))})["label"].shape
        TensorShape([2, 3])

    Source: Bishop, 2006, "Pattern Recognition and Machine Learning", section 4.3.4; the bound is Böhning's, 1992, "Multinomial
    Logistic Regression Algorithm"; objective and c are those of scikit-learn's LogisticRegression. With two classes, each has
    its own weights, so c has the effect of 2 c in logistic regression.
    """

    def __init__(self, columns, classes, *, mean=0.0, std=1.0, penalty=0.0):
        super().__init__(
            columns, classes, "label", regression.cross_entropy, mean=mean, std=std, penalty=penalty, name="softmax")
