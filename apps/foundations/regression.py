"""What linear, logistic and softmax regression share: an affine function, a penalty, and the way down."""
import keras
import numpy as np
import tensorflow as tf

from training.config import UserError


class Regression(keras.Model):
    """A network whose last layer is affine, trained on the mean of a loss and a penalty on the weights, not the intercepts.

        objective = 1/n sum_i loss_i + penalty/2 |W|^2,   penalty = 1 / (c n)

    which is scikit-learn's objective divided by c n. All of it is float64, which Keras's own losses are not.

    loss: function of (answers, outputs) that returns the loss of each example
    """

    def __init__(self, inputs, outputs, affine, loss, penalty, name):
        super().__init__(inputs, outputs, name=name)
        self.affine, self.loss_of, self.penalty = affine, loss, penalty
        self.loss_mean = keras.metrics.Mean("loss")

    @property
    def metrics(self):
        return [self.loss_mean]

    def coefficients(self):
        """Returns (weights (columns, outputs), intercepts (outputs,)) of the standardised columns."""
        return self.affine.kernel.numpy(), self.affine.bias.numpy()

    def train_step(self, batch):
        inputs, targets = batch
        with tf.GradientTape() as tape:
            (answers,), (outputs,) = targets.values(), self(inputs, training=True).values()
            kernel = tf.convert_to_tensor(self.affine.kernel)
            loss = tf.reduce_mean(self.loss_of(answers, outputs)) + self.penalty / 2 * tf.reduce_sum(kernel ** 2)
            scaled = loss / tf.distribute.get_strategy().num_replicas_in_sync
        self.optimizer.apply(tape.gradient(scaled, [v.value for v in self.trainable_variables]), self.trainable_variables)
        self.loss_mean.update_state(loss)
        return {"loss": self.loss_mean.result()}


def build(config, spec, *, outputs, answer, loss, bound, finish=lambda x: x):
    """Returns a compiled Regression: {"features": (batch, columns)} -> {answer: finish(affine function of them)}.

        rate     = 1 / L,                               L = bound * largest eigenvalue of X^T X / n + penalty
        momentum = (sqrt(L/m) - 1) / (sqrt(L/m) + 1),   m = penalty, and for bound 1 the least curvature besides

    The start is 0: the objective has one minimum, and with a penalty or full rank one place of it.

    outputs: of the affine function
    bound:   of the second derivative of the loss by these outputs, as an eigenvalue

    Source: Nesterov, 2004, "Introductory Lectures on Convex Optimization", section 2.2.1, constant step scheme III; it needs
    about sqrt(L/m) steps for each digit where gradient descent needs L/m.

    Raises:
        UserError: c or the momentum is out of range.
    """
    info = spec.info
    penalty = 1 / (c_of(config) * info["examples"]) if c_of(config) else 0.0
    largest = bound * info["largest_curvature"] + penalty
    least = penalty + (info["smallest_curvature"] if bound == 1 else 0.0)
    momentum = config.momentum
    if momentum is None:
        root = (largest / max(least, 1e-5 * largest)) ** 0.5  # with nothing known of the least curvature: 0.994
        momentum = (root - 1) / (root + 1)
    if not 0 <= momentum < 1:
        raise UserError(f"--momentum must be at least 0 and below 1, got {momentum}")
    features = keras.Input(spec.inputs["features"].shape[1:], dtype="float64", name="features")
    affine = keras.layers.Dense(outputs, kernel_initializer="zeros", dtype="float64", name="affine")
    x = finish(affine(standardise(info)(features)))
    model = Regression({"features": features}, {answer: x}, affine, loss, penalty, config.model)
    model.compile(keras.optimizers.SGD(config.learning_rate or 1 / largest, momentum, nesterov=True))
    return model


def objective(loss, finish=lambda z: z):
    """Returns the objective of a Regression as a function of (place, x, answers, penalty) for `newton`.

    place: weights and, last, intercepts as one vector, ((columns + 1) outputs,)
    x:     standardised columns (n, columns)
    """
    def value(place, x, answers, penalty):
        matrix = tf.reshape(place, (x.shape[1] + 1, -1))
        return tf.reduce_mean(loss(answers, finish(tf.matmul(x, matrix[:-1]) + matrix[-1]))) + \
            penalty / 2 * tf.reduce_sum(matrix[:-1] ** 2)

    return value


def standardise(info):
    """Returns the layer that takes the mean of the training split off and divides by its deviation."""
    return keras.layers.Normalization(mean=np.array(info["mean"]), variance=np.array(info["deviation"]) ** 2,
                                      dtype="float64", name="standardise")


def c_of(config):
    """Returns c as a number, or None where there is no penalty.

    Raises:
        UserError: it is out of range.
    """
    if config.c == "none":
        return None
    if not 0 < config.c < float("inf"):
        raise UserError(f"--c must be above 0, got {config.c} (--c none: no penalty)")
    return config.c


def cross_entropy(labels, logits):
    """Returns -log softmax(logits)[label] of each example."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
