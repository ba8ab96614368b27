"""Accuracy of the ensemble, of each member, and of the first 1, 2, … members."""
import itertools

import keras
import numpy as np
import tensorflow as tf

from training.engine import graphs
from training.vision import classification_metrics
from training.vision.classification_metrics import table  # noqa: F401  a part of this module's contract

VALIDATION_METRICS = ("accuracy", "loss")
_LEAST = 1e-7
"""probability that a class without any vote counts as, or the loss would be infinite"""


def evaluate(model, batches, config, info, *, resamples=0, validating=False):
    """Returns the metrics over a validation or test set: those of `classification_metrics` for the whole ensemble, and

    member_accuracy:  mean over the members, with _lowest and _highest
    disagreement:     fraction of the images that two members classify differently; mean over all pairs
    accuracy_by:      {combination: accuracy of the ensemble}
    error_by_members: {combination: [error of the first member, of the first two, …]}
    members:          [accuracy of each]
    out_of_bag_error: of bagging; alphas: of AdaBoost
    """
    outputs, labels = answers(model, itertools.islice(batches, config.limit_steps))
    chosen = outputs[model.combine][:, -1]
    metrics = classification_metrics.summary(
        np.log(np.maximum(chosen, _LEAST)), labels, info.class_names, resamples=resamples, seed=config.seed)
    found = {name: values.argmax(axis=-1) for name, values in outputs.items()}  # (images, members)
    each = (found["members"] == labels[:, None]).mean(axis=0)
    errors = {name: (found[name] != labels[:, None]).mean(axis=0) for name in model.combinations}
    single = {"member_accuracy": float(each.mean()), "member_accuracy_lowest": float(each.min()),
              "member_accuracy_highest": float(each.max())}
    pairs = disagreement(found["members"])[np.triu_indices(len(each), 1)]
    single |= {"disagreement": float(pairs.mean()) if len(pairs) else 0.0}
    first = {name: metrics.pop(name) for name in ("accuracy", "error", "loss")}
    return first | single | metrics | {
        "accuracy_by": {name: float(1 - values[-1]) for name, values in errors.items()},
        "error_by_members": {name: values.tolist() for name, values in errors.items()},
        "members": each.tolist()} | model.own_metrics()


def answers(model, batches):
    """Returns the outputs for all batches, {name: (images, members that count, classes)}, and the labels (images,)."""
    call = graphs.of_model(model, "evaluation.answers", _graph)
    outputs, labels = zip(*((call(inputs), targets["label"]) for inputs, targets in batches))
    counted = int(keras.ops.convert_to_numpy(model.started))
    return {name: np.concatenate([part[name][:, :counted] for part in outputs]) for name in outputs[0]}, np.concatenate(labels)


def disagreement(found):
    """Returns the fraction of images that two members classify differently, (members, members); found: (images, members)."""
    return (found[:, :, None] != found[:, None]).mean(axis=0)


def _graph(model):
    """Returns a traced function: inputs -> outputs."""
    return tf.function(lambda inputs: model(inputs, training=False))
