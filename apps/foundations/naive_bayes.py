"""Gaussian naive Bayes (F3)."""
import math

import tensorflow as tf

from apps.foundations import counting

SMOOTHING = 1e-9
"""smoothing of the variances as in scikit-learn, as a fraction of the largest column variance, which is 1 after
standardization"""


def build_model(config, spec, steps):
    """Returns a compiled NaiveBayes, which has no optimizer."""
    info = spec.info
    model = NaiveBayes(len(info.columns), len(info.class_names), mean=info.mean, std=info.std,
                       shared_variances=config.shared_variances)
    model.compile(optimizer=None)
    return model


class NaiveBayes(counting.Counter):
    """Gaussian naive Bayes: {"features": (batch, columns)} -> {"label": log P(x, class) (batch, classes)}, see `log_joint`.

    The arguments are those of `counting.Counter`, and

    shared_variances: whether the classes share the variance of each column

    Example:
        >>> import numpy as np
        >>> from apps.foundations.naive_bayes import NaiveBayes
        >>> model = NaiveBayes(4, 3)
        >>> counted = model.train_step(({"features": np.eye(4)}, {"label": np.array([0, 1, 2, 2])}))
        >>> model({"features": np.zeros((2, 4))})["label"].shape
        TensorShape([2, 3])
    """

    is_diagonal = True

    def __init__(self, columns, classes, *, mean=0.0, std=1.0, shared_variances=False):
        super().__init__(columns, classes, mean=mean, std=std, name="naive_bayes")
        self.shared_variances = shared_variances

    def log_joint(self, statistics, x):
        return log_joint(statistics, x, is_shared=self.shared_variances)


def log_joint(statistics, x, is_shared=False):
    """Returns log P(x, class), (batch, classes): in each class, the columns are independent Gaussians.

        log P(x, k) = log P(k) - 1/2 sum_j ( log(2 pi v_kj) + (x_j - m_kj)^2 / v_kj )

    Mean m and variance v are maximum likelihood estimates; with `is_shared`, all classes share v, as in Ng and Jordan, and the
    difference between two classes is an affine function of x, as in logistic regression.

    statistics: a `counting.Statistics`
    x:          standardized columns (batch, columns)
    is_shared:  see above

    Source: Bishop, 2006, "Pattern Recognition and Machine Learning", section 4.2.3; Ng and Jordan, 2002, "On Discriminative
    vs. Generative Classifiers".
    """
    means = statistics.means()
    squares = tf.linalg.diag_part(statistics.scatter())
    counts = statistics.counts
    if is_shared:
        squares, counts = tf.reduce_sum(squares, axis=0, keepdims=True), tf.reduce_sum(counts, keepdims=True)
    variances = tf.maximum(squares / tf.maximum(counts, 1e-300)[:, None], 0.0) + SMOOTHING
    distances = tf.reduce_sum((x[:, None] - means) ** 2 / variances, axis=-1)
    return statistics.log_priors() - (distances + tf.reduce_sum(tf.math.log(2 * math.pi * variances), axis=-1)) / 2
