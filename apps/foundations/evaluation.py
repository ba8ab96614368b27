"""Error or accuracy of the predictions, and the difference of the model from a reference solution."""
import itertools

import numpy as np

from apps.foundations import reference
from training import bootstrap
from training.vision import classification_metrics

VALIDATION_METRICS = ("loss",)
"""metrics that are shown after each validation"""


def evaluate(model, batches, config, info, *, resamples=0, validating=False):
    """Returns the metrics over a validation or test set.

    of classes: see `training.vision.classification_metrics`; of a number:
    loss:       half the mean squared error
    rmse, mae:  root mean squared error and mean absolute error; r2: 1 - mean squared error / variance
    difference: unless `validating`, the largest difference from the solution of NumPy or scikit-learn, see `reference`;
                "reference" names it or gives the reason why there is none
    intervals:  with `resamples` above 0 {"rmse": [low, high]}, 95 % by bootstrap over the examples
    """
    outputs, answers = predicted(model, itertools.islice(batches, config.limit_steps))
    if info.class_names:
        metrics = classification_metrics.summary(
            _log_softmax(outputs), answers, info.class_names, resamples=resamples, seed=config.seed)
    else:
        metrics = _numbers(outputs, answers, resamples, config.seed)
    if not validating:
        largest, metrics["reference"] = reference.difference(model, config, info)
        metrics |= {} if largest is None else {"difference": largest}
    return metrics


def predicted(model, batches):
    """Returns the model's outputs (examples, outputs) and the targets (examples,) of all batches."""
    outputs, answers = zip(*(
        (np.asarray(*model(inputs, training=False).values()), np.asarray(*targets.values())) for inputs, targets in batches))
    answers = np.concatenate(answers)
    return np.concatenate(outputs), answers.reshape(len(answers))


def table(metrics):
    """Prints the accuracy by class, and the difference from the reference solution."""
    if "per_class" in metrics:
        classification_metrics.table(metrics)
    if "difference" in metrics:
        print(f"largest difference from {metrics['reference']}: {metrics['difference']:.1e}")
    else:
        print(f"there is no reference to compare with: {metrics['reference']}")


def cross_entropy(logits, labels):
    """Returns -log softmax(logits)[label] of each example."""
    return -_log_softmax(logits)[np.arange(len(labels)), labels]


def _log_softmax(logits):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _numbers(outputs, target, resamples, seed):
    errors = outputs[:, 0] - target
    squared = (errors ** 2).mean()
    metrics = {"rmse": float(np.sqrt(squared)), "mae": float(np.abs(errors).mean()),
               "r2": float(1 - squared / max(target.var(), 1e-300)), "loss": float(squared / 2)}
    if resamples:
        metrics["intervals"] = bootstrap.intervals(
            lambda rows: {"rmse": np.sqrt((errors[rows] ** 2).mean())}, len(target), resamples, seed)
    return metrics
