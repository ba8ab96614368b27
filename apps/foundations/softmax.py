"""Softmax regression (F2)."""
from apps.foundations import regression

MONITOR = None  # the minimum on the training split is what is asked for, not the best on validation
BOUND = 1 / 2
"""diag(p) - p p^T has no larger eigenvalue"""


def build_model(config, spec):
    """Returns a compiled softmax regression: {"label": logits (batch, classes)}.

        P(class k | x) = exp(z_k) / sum_j exp(z_j),   z = x W + b

    Source: Bishop, 2006, "Pattern Recognition and Machine Learning", section 4.3.4; the bound is Böhning's, 1992,
    "Multinomial Logistic Regression Algorithm"; objective and c are those of scikit-learn's LogisticRegression. Of two
    classes each has weights of its own, so that c weighs as 2 c does in logistic.
    """
    return regression.build(config, spec, outputs=len(spec.info["class_names"]), answer="label",
                            loss=regression.cross_entropy, bound=BOUND)
