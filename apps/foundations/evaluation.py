"""How far off a told number is, or how often a told class is right; and how far the model is from the exact one."""
import itertools

import numpy as np

from apps.foundations import reference

WATCHED = ("loss",)


def evaluate(model, batches, config, info, *, resamples=0, validating=False):
    """Returns the metrics over a validation or test set.

    accuracy:   share of examples whose most probable class is the right one; error is 1 - accuracy
    loss:       mean cross-entropy in nats, or half the mean squared error
    per_class:  {class: share of its examples that are right}
    confusion:  examples by right class (rows) and told class
    rmse, mae:  root of the mean squared error and mean absolute error of a number; r2: 1 - its mean squared error / variance
    difference: unless `validating`, the largest one from what numpy or scikit-learn finds, see `reference`; "reference"
                names it or says why there is none
    intervals:  with `resamples` above 0 {"accuracy" or "rmse": [low, high]}, 95 % by bootstrap over the examples
    """
    outputs, answers = told(model, itertools.islice(batches, config.limit_steps))
    metrics = _classes(outputs, answers, info["class_names"]) if "class_names" in info else _numbers(outputs, answers)
    if resamples:
        metrics["intervals"] = _intervals(outputs, answers, resamples, config.seed, "class_names" in info)
    if not validating:
        largest, metrics["reference"] = reference.difference(model, config, info)
        metrics |= {} if largest is None else {"difference": largest}
    return metrics


def told(model, batches):
    """Returns the model's outputs (examples, outputs) and the right answers (examples,) of all batches."""
    outputs, answers = zip(*(
        (np.asarray(*model(inputs, training=False).values()), np.asarray(*targets.values())) for inputs, targets in batches))
    answers = np.concatenate(answers)
    return np.concatenate(outputs), answers.reshape(len(answers))


def table(metrics):
    """Prints the share of right answers by class, and the difference from the exact model."""
    if "per_class" in metrics:
        width = max(5, *map(len, metrics["per_class"]))
        print(f"{'class':{width}}  right")
        for name, share in metrics["per_class"].items():
            print(f"{name:{width}}  {share:6.1%}")
    if "difference" in metrics:
        print(f"largest difference from {metrics['reference']}: {metrics['difference']:.1e}")
    else:
        print(f"no difference to tell: {metrics['reference']}")


def _classes(logits, labels, names):
    found = logits.argmax(axis=1)
    right = found == labels
    confusion = np.zeros((len(names), len(names)), int)
    np.add.at(confusion, (labels, found), 1)
    counts = confusion.sum(axis=1)
    return {"accuracy": float(right.mean()), "error": float(1 - right.mean()),
            "loss": float(cross_entropy(logits, labels).mean()),
            "per_class": {name: float(confusion[k, k] / counts[k]) for k, name in enumerate(names) if counts[k]},
            "confusion": confusion.tolist()}


def cross_entropy(logits, labels):
    """Returns -log softmax(logits)[label] of each example."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]


def _numbers(outputs, target):
    errors = outputs[:, 0] - target
    squared = (errors ** 2).mean()
    return {"rmse": float(np.sqrt(squared)), "mae": float(np.abs(errors).mean()),
            "r2": float(1 - squared / max(target.var(), 1e-300)), "loss": float(squared / 2)}


def _intervals(outputs, answers, resamples, seed, has_classes):
    random = np.random.default_rng(seed)
    drawn = random.integers(0, len(answers), (resamples, len(answers)))
    if has_classes:
        name, samples = "accuracy", (outputs.argmax(axis=1) == answers)[drawn].mean(axis=1)
    else:
        name, samples = "rmse", np.sqrt(((outputs[:, 0] - answers) ** 2)[drawn].mean(axis=1))
    return {name: np.percentile(samples, [2.5, 97.5]).tolist()}
