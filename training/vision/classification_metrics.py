"""Classification metrics, over all examples and by class."""
import numpy as np

from training import bootstrap
from training.engine.names import one_line


def summary(log_probabilities, labels, class_names, *, resamples=0, seed=0):
    """Returns the metrics of predictions for examples with one class each.

    log_probabilities: (examples, classes), natural logarithms
    labels:            (examples,), ids of the true classes
    resamples:         bootstrap samples of the examples for 95 % intervals; 0: none
    seed:              of the bootstrap samples

    accuracy:   fraction of examples for which the most probable class is correct; error is 1 - accuracy
    top5:       fraction with the true class among the five most probable, if there are more than five classes
    loss:       mean cross-entropy in nats
    per_class:  {class: fraction of its examples that are classified correctly}
    confusion:  examples by true class (rows) and predicted class (columns)
    intervals:  with `resamples` {"accuracy": [low, high]}
    """
    classes = len(class_names)
    found = log_probabilities.argmax(axis=1)
    right = found == labels
    confusion = np.zeros((classes, classes), int)
    np.add.at(confusion, (labels, found), 1)
    counts = confusion.sum(axis=1)
    metrics = {
        "accuracy": float(right.mean()), "error": float(1 - right.mean()),
        "loss": float(-log_probabilities[np.arange(len(labels)), labels].mean())}
    if classes > 5:
        best = np.argpartition(-log_probabilities, 5, axis=1)[:, :5]
        metrics["top5"] = float((best == labels[:, None]).any(axis=1).mean())
    metrics["per_class"] = {name: float(confusion[k, k] / counts[k]) for k, name in enumerate(class_names) if counts[k]}
    metrics["confusion"] = confusion.tolist()
    if resamples:
        metrics["intervals"] = bootstrap.intervals(
            lambda rows: {"accuracy": right[rows].mean()}, len(right), resamples, seed)
    return metrics


def table(metrics):
    """Prints the accuracy by class."""
    shares = [(one_line(name), share) for name, share in metrics["per_class"].items()]
    width = max(5, *(len(name) for name, _ in shares))
    print(f"{'class':{width}}  right")
    for name, share in shares:
        print(f"{name:{width}}  {share:6.1%}")
