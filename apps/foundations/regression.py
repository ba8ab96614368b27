"""Common parts of linear, logistic and softmax regression: an affine function, a penalty, and the optimizer."""
import keras
import numpy as np
import tensorflow as tf

from training.engine import step


class Regression(keras.Model):
    """An affine model, trained on a mean loss and a penalty on the weights, but not on the intercepts.

        {"features": x (batch, columns)} -> {answer: finish((x - mean) / std W + b)}
        objective = 1/n sum_i loss_i + penalty/2 |W|^2,   penalty = 1 / (c n)

    which is scikit-learn's objective divided by c n. All computations are float64, unlike Keras's own losses. Training starts
    at 0: the objective is convex, and with a penalty or full rank its minimum is unique.

    columns: number of columns of the table
    outputs: number of outputs of the affine function
    answer:  name of the network's output
    loss:    function of (answers, outputs) that returns the loss of each example
    finish:  function from the outputs of the affine function to those of the network
    mean:    means of the columns of the training split: one per column, or one for all
    std:     their standard deviations, likewise
    penalty: see above; 0: no penalty
    """

    def __init__(self, columns, outputs, answer, loss, *, finish=lambda z: z, mean=0.0, std=1.0, penalty=0.0, **kwargs):
        features = keras.Input((columns,), dtype="float64", name="features")
        affine = keras.layers.Dense(outputs, kernel_initializer="zeros", dtype="float64", name="affine")
        super().__init__({"features": features}, {answer: finish(affine(standardization(mean, std)(features)))}, **kwargs)
        self.affine, self.loss_of, self.penalty = affine, loss, penalty
        self.loss_mean = keras.metrics.Mean("loss")

    @property
    def metrics(self):
        return [self.loss_mean]

    def coefficients(self):
        """Returns (weights (columns, outputs), intercepts (outputs,)) of the standardized columns."""
        return self.affine.kernel.numpy(), self.affine.bias.numpy()

    def train_step(self, batch):
        inputs, targets = batch

        def losses_of():
            (answers,), (outputs,) = targets.values(), self(inputs, training=True).values()
            kernel = tf.convert_to_tensor(self.affine.kernel)
            return tf.reduce_mean(self.loss_of(answers, outputs)) + self.penalty / 2 * tf.reduce_sum(kernel ** 2)

        self.loss_mean.update_state(step.gradient_step(self.optimizer, self.trainable_variables, losses_of))
        return {"loss": self.loss_mean.result()}


def optimizer(config, info, bound):
    """Returns Nesterov's accelerated gradient descent with rate and momentum for the curvature of the objective.

        rate     = 1 / L,                               L = bound * largest eigenvalue of X^T X / n + penalty
        momentum = (sqrt(L/m) - 1) / (sqrt(L/m) + 1),   m = penalty, plus the smallest curvature if bound is 1

    config: its `learning_rate` and `momentum` take precedence if they are set, and its `c` determines the penalty
    info:   a `data.Info`
    bound:  upper bound of the eigenvalues of the Hessian of the loss with respect to the affine function's outputs

    Source: Nesterov, 2004, "Introductory Lectures on Convex Optimization", section 2.2.1, constant step scheme III; it needs
    about sqrt(L/m) steps per digit, whereas gradient descent needs L/m.
    """
    penalty = penalty_of(config.c, info.examples)
    largest = bound * info.largest_curvature + penalty
    least = penalty + (info.smallest_curvature if bound == 1 else 0.0)
    momentum = config.momentum
    if momentum is None:
        root = (largest / max(least, 1e-5 * largest)) ** 0.5  # with nothing known of the least curvature: 0.994
        momentum = (root - 1) / (root + 1)
    return keras.optimizers.SGD(config.learning_rate or 1 / largest, momentum, nesterov=True)


def objective(loss, finish=lambda z: z):
    """Returns the objective of a Regression as a function of (point, x, answers, penalty) for `experiments.newton`.

    point: weights followed by intercepts as one vector, ((columns + 1) outputs,)
    x:     standardized columns (n, columns)
    """
    def value(place, x, answers, penalty):
        matrix = tf.reshape(place, (x.shape[1] + 1, -1))
        return tf.reduce_mean(loss(answers, finish(tf.matmul(x, matrix[:-1]) + matrix[-1]))) + \
            penalty / 2 * tf.reduce_sum(matrix[:-1] ** 2)

    return value


def standardization(mean, std):
    """Returns the layer that subtracts the mean of the training split and divides by its standard deviation."""
    return keras.layers.Normalization(mean=np.array(mean), variance=np.array(std) ** 2, dtype="float64", name="standardization")


def penalty_of(c, examples):
    """Returns 1 / (c n), or 0 if `c` is "none"."""
    return 0.0 if c == "none" else 1 / (c * examples)


def cross_entropy(labels, logits):
    """Returns -log softmax(logits)[label] of each example."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
