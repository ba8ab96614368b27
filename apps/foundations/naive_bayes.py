"""Gaussian naive Bayes (F3)."""
import functools
import math

import tensorflow as tf

from apps.foundations import counting

MONITOR = None  # nothing is trained
SMOOTHING = 1e-9
"""of the variances, as a share of the largest variance of a column: scikit-learn's; standardised columns have 1"""


def build_model(config, spec):
    """Returns a naive Bayes classifier; its weights are counted."""
    return counting.Counter(config, spec, functools.partial(log_joint, is_shared=config.shared_variances), is_diagonal=True)


def log_joint(statistics, x, is_shared=False):
    """Returns log P(x, class), (batch, classes): in each class the columns are independent, each with a Gaussian of its own.

        log P(x, k) = log P(k) - 1/2 sum_j ( log(2 pi v_kj) + (x_j - m_kj)^2 / v_kj )

    Source: Bishop, 2006, "Pattern Recognition and Machine Learning", section 4.2.3; Ng and Jordan, 2002, "On Discriminative
    vs. Generative Classifiers". Mean m and variance v are the likeliest ones; with `is_shared` all classes have one v, as Ng
    and Jordan's have, and what tells two classes apart is an affine function of x, as in logistic regression.
    """
    means = statistics.means()
    squares = tf.linalg.diag_part(statistics.scatter())
    counts = statistics.counts
    if is_shared:
        squares, counts = tf.reduce_sum(squares, axis=0, keepdims=True), tf.reduce_sum(counts, keepdims=True)
    variances = tf.maximum(squares / tf.maximum(counts, 1e-300)[:, None], 0.0) + SMOOTHING
    distances = tf.reduce_sum((x[:, None] - means) ** 2 / variances, axis=-1)
    return statistics.log_priors() - (distances + tf.reduce_sum(tf.math.log(2 * math.pi * variances), axis=-1)) / 2
