"""Ensembles of small networks, and the few images that tests train them on."""
import keras
import numpy as np
import tensorflow as tf

from apps.ensembles import data
from training.app import App
from training.data.spec import Spec

APP = App("ensembles")
SIDE, CLASSES, EXAMPLES, BATCH = 4, 3, 24, 8
STEPS = EXAMPLES // BATCH  # of an epoch
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (EXAMPLES, SIDE, SIDE, 1), np.uint8)
LABELS = (IMAGES[:, 0, 0, 0] // 86).astype("int32")
PIXELS = ((IMAGES.reshape(EXAMPLES, -1) - 100.0) / 50.0).astype("float32")


def ensemble_of(model, **changes):
    """Returns a compiled ensemble of three networks for these images, whose optimizer is built."""
    keras.utils.set_random_seed(1)
    given = dict(members=3, hidden=5, epochs=6, batch_size=BATCH, weight_decay=0.0, learning_rate=0.1) | changes
    config = APP.config(model, **({"depth": 1} if given["hidden"] else {}) | given)
    info = data.Info(class_names=[str(k) for k in range(CLASSES)], mean=[100.0], std=[50.0], train_examples=EXAMPLES)
    spec = Spec({"image": tf.TensorSpec([None, SIDE, SIDE, 1], tf.uint8)}, {"label": tf.TensorSpec([None], tf.int32)}, info)
    made = APP.build_model(config, spec, config.epochs * STEPS)
    made.optimizer.build(made.trainable_variables)
    return made


def rows_of(epoch):
    """Returns the rows of the batches of an epoch, (steps, batch)."""
    return np.random.default_rng(epoch).permutation(EXAMPLES).reshape(STEPS, BATCH).astype("int32")


def train(model, epochs, first=0):
    """Trains for some epochs and returns the losses of the steps."""
    step = tf.function(model.train_step)
    losses = []
    for epoch in range(first, first + epochs):
        for rows in rows_of(epoch):
            model.reset_metrics()
            losses.append(float(step(({"image": IMAGES[rows]}, {"label": LABELS[rows], "index": rows}))["loss"]))
    return losses
