"""How often the class is the right one, over all images and by class."""
import itertools

import numpy as np
import tensorflow as tf

WATCHED = ("accuracy", "loss")


def evaluate(model, batches, config, info, *, resamples=0, validating=False):
    """Returns the metrics over a validation or test set.

    accuracy:   share of images whose most probable class is the right one; error is 1 - accuracy
    top5:       share whose right class is among the five most probable, where there are more than five
    loss:       mean cross-entropy in nats, without label smoothing
    per_class:  {class: share of its images that are right}
    confusion:  images by right class (rows) and answered class
    intervals:  with `resamples` above 0 {"accuracy": [low, high]}, 95 % by bootstrap over the images
    """
    logits, labels = answers(model, itertools.islice(batches, config.limit_steps))
    classes = len(info["class_names"])
    found = logits.argmax(axis=1)
    right = found == labels
    log_probabilities = tf.nn.log_softmax(logits).numpy()
    confusion = np.zeros((classes, classes), int)
    np.add.at(confusion, (labels, found), 1)
    counts = confusion.sum(axis=1)
    metrics = {
        "accuracy": float(right.mean()), "error": float(1 - right.mean()),
        "loss": float(-log_probabilities[np.arange(len(labels)), labels].mean())}
    if classes > 5:
        best = np.argpartition(-logits, 5, axis=1)[:, :5]
        metrics["top5"] = float((best == labels[:, None]).any(axis=1).mean())
    metrics["per_class"] = {name: float(confusion[k, k] / counts[k]) for k, name in enumerate(info["class_names"]) if counts[k]}
    metrics["confusion"] = confusion.tolist()
    if resamples:
        random = np.random.default_rng(config.seed)
        drawn = [right[random.integers(0, len(right), len(right))].mean() for _ in range(resamples)]
        metrics["intervals"] = {"accuracy": np.percentile(drawn, [2.5, 97.5]).tolist()}
    return metrics


def answers(model, batches):
    """Returns the logits (images, classes) float32 and the labels (images,) of all batches."""
    step = model.__dict__.setdefault("_answer", tf.function(lambda inputs: model(inputs, training=False)["label"]))
    logits, labels = zip(*((step(inputs), targets["label"]) for inputs, targets in batches))
    return np.concatenate([np.asarray(part, np.float32) for part in logits]), np.concatenate(labels)


def table(metrics):
    """Prints the share of right answers by class, and the commonest confusions."""
    names = list(metrics["per_class"])
    width = max(5, *map(len, names))
    print(f"{'class':{width}}  right")
    for name, share in metrics["per_class"].items():
        print(f"{name:{width}}  {share:6.1%}")
