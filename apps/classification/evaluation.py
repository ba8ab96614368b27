"""How often the class is the right one, over all images and by class."""
import itertools

import numpy as np
import tensorflow as tf

from training import class_metrics
from training.class_metrics import table  # noqa: F401  a part of this module's contract

WATCHED = ("accuracy", "loss")


def evaluate(model, batches, config, info, *, resamples=0, validating=False):
    """Returns the metrics over a validation or test set, see `training.class_metrics`; the loss is without label smoothing."""
    logits, labels = answers(model, itertools.islice(batches, config.limit_steps))
    return class_metrics.summary(
        tf.nn.log_softmax(logits).numpy(), labels, info["class_names"], resamples=resamples, seed=config.seed)


def answers(model, batches):
    """Returns the logits (images, classes) float32 and the labels (images,) of all batches."""
    step = model.__dict__.setdefault("_answer", tf.function(lambda inputs: model(inputs, training=False)["label"]))
    logits, labels = zip(*((step(inputs), targets["label"]) for inputs, targets in batches))
    return np.concatenate([np.asarray(part, np.float32) for part in logits]), np.concatenate(labels)
