"""Where training fails: plain networks by depth, activation, initializer and normalization."""
import itertools
import time

import keras
import matplotlib.figure
import numpy as np
import tensorflow as tf

import layers
from apps.classification import blocks, data
from training import reports

ACTIVATIONS = ("sigmoid", "tanh", "relu", "leaky_relu", "prelu", "elu", "maxout")
INITIALIZERS = ("small", "large", "glorot", "he")
NORMALIZATIONS = ("none", "batch")
RATES = (0.003, 0.03, 0.3)
"""learning rates; each network uses the best one by its training loss, so no kind fails because of an unsuitable rate"""
_KEYS = ("normalization", "depth", "activation", "initializer")
_MOMENTUM, _BATCH, _SIDE = 0.9, 32, 8
_EPSILON = 1e-5


def run(app, request):
    """Trains all networks; prints, plots and saves the table, and returns the numbers.

    A network is `depth` hidden layers of `units` and a softmax layer, trained by momentum on batches of 32. All networks of
    one depth, activation and normalization are one program. Batch normalization uses the statistics of the batch, and in
    evaluation those of all evaluated images.

    Raises:
        UserError: the data set is missing, or the folder is not empty.
    """
    folder = reports.folder_of(app, "depths", request)
    began = time.perf_counter()
    config = app.config("softmax", dataset=request.dataset, data_dir=request.data_dir, manual_dir=request.manual_dir,
                        download=request.download, image_size=_SIDE, batch_size=_BATCH)
    splits = data.datasets(config)
    train, validation = (_standardized(part, splits.spec.info) for part in (
        splits.train(0, 0, tf.distribute.InputContext()), splits.validation))
    classes = len(splits.spec.info.class_names)
    rows = {}
    for normalization, depth, activation in itertools.product(NORMALIZATIONS, request.depths, ACTIVATIONS):
        networks = Networks(activation, normalization, depth, train[0].shape[1], classes, units=request.units,
                            epochs=request.epochs, seeds=request.seeds, seed=request.seed)
        for scheme, figures in networks.train(train, validation).items():
            rows[normalization, depth, activation, scheme] = figures
        print(f"{normalization:5} {depth:3} layers  {activation:10}  " + "  ".join(
            f"{scheme} {rows[normalization, depth, activation, scheme]['accuracy']:.2f}" for scheme in INITIALIZERS), flush=True)
    text = _markdown(rows, request)
    print(f"\n{text}")
    reports.keep(folder, "depths", request, {
        "seconds": round(time.perf_counter() - began, 1), "rows": [dict(zip(_KEYS, key)) | value for key, value in rows.items()]},
        {"depths": lambda: _maps(rows, request)}, {"depths": text})
    return rows


class Networks:
    """Plain networks of one depth, activation and normalization, for all initializers, learning rates and seeds in parallel.

        x_0 = image,  x_l = f(normalize(x_(l-1) W_l + b_l)),  logits = x_depth W + b

    activation:    one of ACTIVATIONS
    normalization: one of NORMALIZATIONS
    depth:         hidden layers
    units:         units of each hidden layer
    epochs:        passes over the training images
    seeds:         networks of each kind
    seed:          seed of the initial weights and the shuffling
    inputs:        number of inputs, the pixels of an image
    classes:       number of classes
    """

    def __init__(self, activation, normalization, depth, inputs, classes, *, units=64, epochs=15, seeds=3, seed=0):
        self.activation, self.normalization = activation, normalization
        self.epochs, self.seeds, self.seed = epochs, seeds, seed
        self.members = list(itertools.product(INITIALIZERS, RATES, range(seeds)))
        pieces = blocks.MAXOUT_PIECES if activation == "maxout" else 1
        keras.utils.set_random_seed(seed)
        sizes = [inputs] + [units] * depth
        self.depth, self.weights = depth, []
        for fan_in in sizes[:-1]:
            self.weights += [self._drawn(fan_in, pieces * units), self._constant(pieces * units, 0.0)]
            if normalization == "batch":
                self.weights += [self._constant(units, 1.0), self._constant(units, 0.0)]
            if activation == "prelu":
                self.weights.append(self._constant(1, 0.25))
        self.weights += [self._drawn(units, classes), self._constant(classes, 0.0)]

    def _drawn(self, fan_in, fan_out):
        """Returns a kernel (members, fan_in, fan_out); members of one initializer and seed begin alike."""
        kinds = {(scheme, seed): blocks.initializer(scheme)((fan_in, fan_out)) for scheme, _, seed in self.members}
        return tf.Variable(tf.stack([kinds[scheme, seed] for scheme, _, seed in self.members]))

    def _constant(self, size, value):
        return tf.Variable(tf.fill((len(self.members), 1, size), value))

    def logits(self, images):
        """Returns the logits (members, images, classes) of images (images, inputs), and the outputs of the last hidden
        layer."""
        weights = iter(self.weights)
        x = tf.repeat(images[None], len(self.members), axis=0)
        for _ in range(self.depth):
            x = tf.matmul(x, next(weights)) + next(weights)
            if self.activation == "maxout":
                x = layers.maxout.largest_piece(x, blocks.MAXOUT_PIECES)
            if self.normalization == "batch":
                mean, variance = tf.nn.moments(x, axes=[1], keepdims=True)
                x = (x - mean) * tf.math.rsqrt(variance + _EPSILON) * next(weights) + next(weights)
            if self.activation == "prelu":
                x = tf.where(x > 0, x, next(weights) * x)
            elif self.activation != "maxout":
                x = _FUNCTIONS[self.activation](x)
        return tf.matmul(x, next(weights)) + next(weights), x

    def losses(self, images, labels):
        """Returns each member's mean cross-entropy, (members,)."""
        logits, _ = self.logits(images)
        labels = tf.broadcast_to(labels, tf.shape(logits)[:2])
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits), axis=1)

    def train(self, train, validation):
        """Returns {scheme: {"accuracy", "loss", "std"}}: medians over the seeds, each with its best learning rate.

        accuracy: validation accuracy
        loss:     training loss, in nats
        std:      standard deviation over the images of a unit's output in the last hidden layer before training; mean over the
                  units
        """
        images, labels = (tf.constant(part) for part in train)
        steps = len(train[0]) // _BATCH
        rates = tf.constant([rate for _, rate, _ in self.members])[:, None, None]
        velocities = [tf.Variable(tf.zeros_like(weight)) for weight in self.weights]

        @tf.function  # XLA takes minutes to compile the deep ones
        def epoch(order):
            for step in tf.range(steps):
                rows = order[step]
                with tf.GradientTape() as tape:
                    loss = tf.reduce_sum(self.losses(tf.gather(images, rows), tf.gather(labels, rows)))
                for weight, velocity, gradient in zip(self.weights, velocities, tape.gradient(loss, self.weights)):
                    velocity.assign(_MOMENTUM * velocity - rates * gradient)  # a network whose numbers are gone is alone with it
                    weight.assign_add(velocity)

        std = tf.reduce_mean(tf.math.reduce_std(self.logits(images)[1], axis=1), axis=-1).numpy()
        random = np.random.default_rng(self.seed)
        for _ in range(self.epochs):
            order = random.permutation(len(train[0]))[:steps * _BATCH]
            epoch(tf.constant(order.reshape(steps, _BATCH), tf.int32))
        losses = self.losses(images, labels).numpy()
        losses = np.where(np.isfinite(losses), losses, np.inf)
        accuracy = (tf.argmax(self.logits(tf.constant(validation[0]))[0], axis=-1).numpy() == validation[1]).mean(axis=1)
        values = {"accuracy": accuracy, "loss": losses, "std": std}
        values = {name: value.reshape(len(INITIALIZERS), len(RATES), self.seeds) for name, value in values.items()}
        best = values["loss"].argmin(axis=1)[:, None]
        medians = {name: np.median(np.take_along_axis(value, best, axis=1)[:, 0], axis=1) for name, value in values.items()}
        return {scheme: {name: float(medians[name][place]) for name in medians} for place, scheme in enumerate(INITIALIZERS)}


_FUNCTIONS = {"sigmoid": tf.sigmoid, "tanh": tf.tanh, "relu": tf.nn.relu, "elu": tf.nn.elu,
              "leaky_relu": lambda x: tf.nn.leaky_relu(x, blocks.LEAK)}


def _standardized(batches, info):
    """Returns the pixels of all batches as float32 (images, pixels), standardized, and the labels."""
    pairs = [(inputs["image"].numpy(), targets["label"].numpy()) for inputs, targets in batches]
    images, labels = (np.concatenate(part) for part in zip(*pairs))
    images = (images - np.array(info.mean)) / np.array(info.std)
    return images.reshape(len(images), -1).astype(np.float32), labels


def _markdown(rows, request):
    """Returns the validation accuracies as a table: a row for each activation and initializer."""
    columns = list(itertools.product(NORMALIZATIONS, request.depths))
    lines = ["| activation | initial weights | " + " | ".join(
        f"{depth} layers" + (", batch norm" if kind == "batch" else "") for kind, depth in columns) + " |",
        "|" + "---|" * (len(columns) + 2)]
    for activation, scheme in itertools.product(ACTIVATIONS, INITIALIZERS):
        shares = [f"{rows[kind, depth, activation, scheme]['accuracy']:.1%}" for kind, depth in columns]
        lines.append(f"| {activation} | {scheme} | " + " | ".join(shares) + " |")
    return "\n".join(lines)


def _maps(rows, request):
    """Returns a figure of the accuracies: a map for each normalization and depth, each with the "std" before training."""
    columns = list(itertools.product(NORMALIZATIONS, request.depths))
    figure = matplotlib.figure.Figure((2.6 * len(columns) + 1.5, 4.6))
    figure.suptitle("validation accuracy; below it, the initial variation of the last layer's outputs between images")
    for place, (kind, depth) in enumerate(columns):
        axes = figure.add_subplot(1, len(columns), place + 1)
        shares = [[rows[kind, depth, activation, scheme]["accuracy"] for scheme in INITIALIZERS] for activation in ACTIVATIONS]
        axes.imshow(shares, cmap="RdYlGn", vmin=0, vmax=1, aspect="auto")
        axes.set_title(f"{depth} layers" + (", batch norm" if kind == "batch" else ""), fontsize=10)
        axes.set_xticks(range(len(INITIALIZERS)), INITIALIZERS, fontsize=8)
        axes.set_yticks(range(len(ACTIVATIONS)), ACTIVATIONS if place == 0 else [], fontsize=8)
        for (row, activation), (column, scheme) in itertools.product(enumerate(ACTIVATIONS), enumerate(INITIALIZERS)):
            figures = rows[kind, depth, activation, scheme]
            axes.text(column, row, f"{figures['accuracy']:.0%}\n{figures['std']:.1g}", ha="center", va="center", fontsize=7)
    return figure
