"""Linear discriminant analysis (F3)."""
import tensorflow as tf

from apps.foundations import counting

MONITOR = None  # nothing is trained
_RANK = 1e-10  # of the covariance: smaller eigenvalues, as shares of the largest, count as 0


def build_model(config, spec):
    """Returns a linear discriminant analysis; its weights are counted."""
    return counting.Counter(config, spec, log_joint)


def log_joint(statistics, x):
    """Returns log P(x, class) but for what all classes share, (batch, classes).

        log P(x, k) = x S^-1 m_k - 1/2 m_k S^-1 m_k + log P(k) + …,   S = sum_k scatter_k / n

    Each class is a Gaussian around its mean m_k, all with the covariance S. Where S has no inverse, its pseudoinverse is taken.

    Source: Bishop, 2006, "Pattern Recognition and Machine Learning", section 4.2.2, eq. 4.78: the likeliest S of n examples.
    """
    weights, intercepts = coefficients(statistics)
    return tf.matmul(x, weights) + intercepts


def coefficients(statistics):
    """Returns (weights (columns, classes), intercepts (classes,)) of the standardised columns."""
    means = statistics.means()
    covariance = tf.reduce_sum(statistics.scatter(), axis=0) / tf.reduce_sum(statistics.counts)
    weights = tf.matmul(tf.linalg.pinv(covariance, _RANK), means, transpose_b=True)
    return weights, statistics.log_priors() - tf.reduce_sum(means * tf.transpose(weights), axis=-1) / 2
