"""Linear discriminant analysis (F3)."""
import tensorflow as tf

from apps.foundations import counting

_RANK = 1e-10  # of the covariance: smaller eigenvalues, as shares of the largest, count as 0


def build_model(config, spec, steps):
    """Returns a compiled LDA, which has no optimizer."""
    info = spec.info
    model = LDA(len(info.columns), len(info.class_names), mean=info.mean, std=info.std)
    model.compile(optimizer=None)
    return model


class LDA(counting.Counter):
    """Linear discriminant analysis: {"features": (batch, columns)} -> {"label": logits (batch, classes)}, see `log_joint`.

    The arguments are those of `counting.Counter`.

    Example:
        >>> import numpy as np
        >>> from apps.foundations.lda import LDA
        >>> LDA(4, 3)({"features": np.zeros((2, 4))})["label"].shape
        TensorShape([2, 3])
    """

    def __init__(self, columns, classes, *, mean=0.0, std=1.0):
        super().__init__(columns, classes, mean=mean, std=std, name="lda")

    def log_joint(self, statistics, x):
        return log_joint(statistics, x)

    def coefficients(self):
        """Returns (weights (columns, classes), intercepts (classes,)) of the standardized columns."""
        return tuple(value.numpy() for value in coefficients(self.statistics()))


def log_joint(statistics, x):
    """Returns log P(x, class) up to a term that is equal for all classes, (batch, classes).

        log P(x, k) = x S^-1 m_k - 1/2 m_k S^-1 m_k + log P(k) + …,   S = sum_k scatter_k / n

    Each class is a Gaussian with mean m_k and the shared covariance S. If S is singular, its pseudoinverse is used.

    statistics: a `counting.Statistics`
    x:          standardized columns (batch, columns)

    Source: Bishop, 2006, "Pattern Recognition and Machine Learning", section 4.2.2, eq. 4.78: the maximum likelihood estimate
            of S.
    """
    weights, intercepts = coefficients(statistics)
    return tf.matmul(x, weights) + intercepts


def coefficients(statistics):
    """Returns (weights (columns, classes), intercepts (classes,)) of the standardized columns, as tensors."""
    means = statistics.means()
    covariance = tf.reduce_sum(statistics.scatter(), axis=0) / tf.reduce_sum(statistics.counts)
    weights = tf.matmul(tf.linalg.pinv(covariance, _RANK), means, transpose_b=True)
    return weights, statistics.log_priors() - tf.reduce_sum(means * tf.transpose(weights), axis=-1) / 2
