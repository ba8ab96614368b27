"""Metrics of a class for every pixel, from exact counts of pixels."""
import itertools
import time

import numpy as np
import tensorflow as tf

from apps.segmentation import original_size, segmenter
from training import bootstrap
from training.datasets.masks import VOID as STORED_VOID
from training.engine import graphs
from training.engine.names import one_line

NOTHING = -1.0
"""value of a metric without any labeled pixel to measure"""
_SECONDS_BETWEEN_LINES = 10


def summary(confusions, class_names, *, resamples=0, seed=0):
    """Returns the metrics of predicted classes of pixels.

    confusions:  (images, classes, classes) integers: of each image, the labeled pixels by true class (first) and predicted
                 class (second)
    class_names: names of the classes
    resamples:   bootstrap samples of the images for 95 % intervals; 0: none
    seed:        seed of the bootstrap samples

    mean_iou:       mean of the intersection over union of the classes that occur in the truth; a class that is predicted but
                    never occurs lowers the values of the classes that it takes pixels from
    pixel_accuracy: share of the pixels that are classified correctly
    mean_accuracy:  mean over these classes of the share of their pixels that are classified correctly
    weighted_iou:   mean of their intersection over union, weighted by their numbers of pixels
    per_class:      {class: intersection over union}
    confusion:      pixels by true class (rows) and predicted class (columns)
    intervals:      with `resamples` {metric: [low, high]} of the first two

    Source: Long et al., 2015, "Fully Convolutional Networks for Semantic Segmentation", section 5.
    """
    total = confusions.sum(axis=0)
    union = total.sum(axis=0) + total.sum(axis=1) - total.diagonal()
    occurs = total.sum(axis=1) > 0
    metrics = _figures(total)
    metrics["per_class"] = {name: float(total[k, k] / union[k]) for k, name in enumerate(class_names) if occurs[k]}
    metrics["confusion"] = total.tolist()
    if resamples:
        def statistics(rows):
            figures = _figures(confusions[rows].sum(axis=0))
            return {name: figures[name] if figures[name] != NOTHING else np.nan for name in ("mean_iou", "pixel_accuracy")}

        nothing = {name: [NOTHING] * 2 for name in ("mean_iou", "pixel_accuracy")}
        metrics["intervals"] = nothing | bootstrap.intervals(statistics, len(confusions), resamples, seed)
    return metrics


def confusion(truth, found, classes):
    """Returns the pixels by true and predicted class, (classes, classes) int64.

    truth, found: integers of one shape; pixels with a truth below 0 or of at least `classes` are void
    """
    truth, found = np.asarray(truth, np.int64).ravel(), np.asarray(found, np.int64).ravel()
    is_labeled = (truth >= 0) & (truth < classes)
    return np.bincount(truth[is_labeled] * classes + found[is_labeled], minlength=classes ** 2).reshape(classes, classes)


def confusions(model, batches, config, info):
    """Returns the confusion of each image of a validation or test set, (images, classes, classes) int64."""
    counts = []
    for targets, found in predicted(model, batches, config):
        for row, (best, _) in enumerate(found):
            counts.append(confusion(truth_of(targets, row), best, len(info.class_names)))
    return np.stack(counts)


def truth_of(targets, row):
    """Returns the true classes of an image of a batch at its original resolution, (height, width) int64; -1 for void."""
    mask = tf.io.decode_png(targets["mask"][row], channels=1).numpy()[..., 0].astype(np.int64)
    class_ids = np.append(targets["class_ids"][row], -1)  # the model may list the classes in another order
    return class_ids[np.where(mask == STORED_VOID, -1, mask)]


def predicted(model, batches, config):
    """Yields (targets as arrays, [(class ids, scores) of each image]) of each batch, at the resolution of the originals."""
    call = graphs.of_model(model, "pixel_metrics", lambda model: tf.function(lambda batch: segmenter.probabilities(model, batch)))
    began = said = time.perf_counter()
    for number, (inputs, targets) in enumerate(itertools.islice(batches, config.limit_steps)):
        images = inputs["image"]
        count = images.shape[0]
        missing = max(0, config.batch_size - count)  # all batches have one size, and share one trace
        probabilities = call(tf.pad(images, [[0, missing], [0, 0], [0, 0], [0, 0]]) if missing else images)
        targets = {name: value.numpy() for name, value in targets.items()}
        found = [_maps(probabilities[row], targets["height"][row], targets["width"][row]) for row in range(count)]
        yield targets, [tuple(part.numpy() for part in pair) for pair in found]
        now = time.perf_counter()
        if now - said > _SECONDS_BETWEEN_LINES:
            said = now
            print(f"segmenting: batch {number + 1}, {now - began:.0f} s", flush=True)


def table(metrics):
    """Prints the intersection over union of each class, plain text."""
    rows = [(one_line(name), value) for name, value in metrics["per_class"].items()] + [("mean", metrics["mean_iou"])]
    width = max(5, *(len(name) for name, _ in rows))
    print(f"{'class':{width}}    IoU")
    for name, value in rows:
        print(f"{name:{width}}  " + (f"{value:5.3f}" if value != NOTHING else "    -"))


def _figures(total):
    """Returns the metrics that are numbers, of counts by true and predicted class."""
    right, pixels = total.diagonal(), total.sum(axis=1)
    occurs = pixels > 0
    if not occurs.any():
        return dict.fromkeys(("mean_iou", "pixel_accuracy", "mean_accuracy", "weighted_iou"), NOTHING)
    iou = right[occurs] / (pixels + total.sum(axis=0) - right)[occurs]
    return {"mean_iou": float(iou.mean()), "pixel_accuracy": float(right.sum() / pixels.sum()),
            "mean_accuracy": float((right[occurs] / pixels[occurs]).mean()),
            "weighted_iou": float((iou * pixels[occurs]).sum() / pixels.sum())}


_maps = tf.function(original_size.maps, reduce_retracing=True, autograph=False)
