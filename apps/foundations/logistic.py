"""Logistic regression (F2)."""
from keras import ops

from apps.foundations import regression

MONITOR = None  # the minimum on the training split is what is asked for, not the best on validation
BOUND = 1 / 4
"""p (1 - p) is no larger"""


def build_model(config, spec):
    """Returns a compiled logistic regression: {"label": logits (batch, 2)}, of which the first is 0.

        P(second class | x) = 1 / (1 + exp(-(x w + b)))

    Source: Bishop, 2006, "Pattern Recognition and Machine Learning", section 4.3.2; the objective and c are those of
    scikit-learn's LogisticRegression.
    """
    return regression.build(config, spec, outputs=1, answer="label", loss=regression.cross_entropy, bound=BOUND,
                            finish=logits)


def logits(z):
    """Returns the logits of both classes, (batch, 2), for that of the second, (batch, 1)."""
    return ops.concatenate([ops.zeros_like(z), z], axis=-1)
