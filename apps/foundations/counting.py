"""Common parts of naive Bayes and linear discriminant analysis, which are fitted in closed form from class statistics."""
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from apps.foundations import regression
from training.engine.subclasses import must_define


class Statistics(NamedTuple):
    """Sufficient statistics of the examples for a Gaussian per class."""

    counts: Any
    """number of examples per class, (classes,)"""
    sums: Any
    """sums of their features, (classes, columns)"""
    products: Any
    """sums of x x^T, (classes, columns, columns)"""

    def log_priors(self):
        """Returns the logarithm of the frequency of each class, (classes,); far below 0 for a class without examples."""
        return tf.math.log(tf.maximum(self.counts, 1e-300) / tf.reduce_sum(self.counts))

    def means(self):
        """Returns the mean of each class, (classes, columns)."""
        return self.sums / tf.maximum(self.counts, 1e-300)[:, None]

    def scatter(self):
        """Returns sum (x - mean) (x - mean)^T of each class, (classes, columns, columns)."""
        means = self.means()
        return self.products - self.sums[:, :, None] * means[:, None, :]


def statistics(features, labels, classes):
    """Returns the Statistics of features (n, columns) float64 with labels (n,)."""
    one_hot = tf.one_hot(labels, classes, dtype=tf.float64)
    return Statistics(tf.reduce_sum(one_hot, axis=0), tf.matmul(one_hot, features, transpose_a=True),
                      tf.einsum("nk,ni,nj->kij", one_hot, features, features))


class Counter(keras.Model):
    """A generative classifier: sums up Statistics in one pass and predicts with Bayes' rule.

        P(class | x) = softmax_class(log P(x | class) + log P(class))

    A system implements `log_joint`. The sums of several replicas are saved as their mean, because only their proportions
    matter.

    columns: number of columns of the table
    classes: number of classes
    mean:    means of the columns of the training split: one per column, or one for all
    std:     their standard deviations, likewise
    """

    is_diagonal = False
    """whether `log_joint` uses only the diagonal of the products"""

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        must_define(cls, Counter, "log_joint")

    def __init__(self, columns, classes, *, mean=0.0, std=1.0, **kwargs):
        super().__init__(dtype="float64", **kwargs)
        self.standardization = regression.standardization(mean, std)
        self.standardization.build((None, columns))
        shapes = dict(counts=(classes,), sums=(classes, columns), products=(classes, columns, columns))
        self.sums = Statistics(**{
            name: self.add_weight(name=name, shape=shape, initializer="zeros", dtype="float64", trainable=False)
            for name, shape in shapes.items()})
        self.counted = keras.metrics.Sum("examples")
        self.built = True

    @property
    def metrics(self):
        return [self.counted]

    def log_joint(self, statistics, x):
        """Returns log P(x, class) up to a term that is equal for all classes, (batch, classes).

        statistics: the Statistics of the examples so far
        x:          standardized columns (batch, columns)
        """

    def count_params(self):
        """Returns the number of parameters for prediction."""
        classes, columns = self.sums.sums.shape
        return classes * (1 + columns + (columns if self.is_diagonal else columns ** 2))

    def statistics(self):
        """Returns the Statistics so far."""
        return Statistics(*(tf.convert_to_tensor(value) for value in self.sums))

    def call(self, inputs, training=False):
        """Returns {"label": log P(x, class) (batch, classes)}."""
        x = self.standardization(tf.cast(inputs["features"], tf.float64))
        return {"label": self.log_joint(self.statistics(), x)}

    def train_step(self, batch):
        inputs, targets = batch
        x = self.standardization(inputs["features"])
        for total, part in zip(self.sums, statistics(x, targets["label"], self.sums.counts.shape[0])):
            total.assign_add(part)
        self.counted.update_state(tf.ones_like(targets["label"], tf.float32))
        return {"examples": self.counted.result()}
