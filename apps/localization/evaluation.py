"""Accuracy of the class, IoU of the box, and both at once."""
import itertools

import numpy as np
import rich.console
import rich.table
import rich.text
import tensorflow as tf

from training import bootstrap
from training.engine import graphs
from training.engine.names import one_line
from training.vision import classification_metrics

VALIDATION_METRICS = ("localized", "right_iou", "accuracy", "mean_iou")
IOU = 0.5
"""least IoU of a box that counts as right"""


def evaluate(model, batches, config, info, *, resamples=0, validating=False):
    """Returns the metrics over a validation or test set; images without an object do not count.

    localized:  fraction of the images with the right class and a box of IoU 0.5 or more, as in the ILSVRC's localization task
    accuracy:   fraction with the right class; error is 1 - accuracy, and top5, loss, per_class and confusion are as in
                `classification_metrics.summary`
    mean_iou:   mean IoU of the predicted and the true box, whatever the class
    right_iou:  mean IoU, where a box counts 0 if the class is wrong
    per_class_iou, per_class_localized: {class: mean over its images}
    intervals:  with `resamples` {"localized": [low, high], "accuracy", "mean_iou", "right_iou"}, 95 % over images
    """
    found = located(model, itertools.islice(batches, config.limit_steps))
    return summary(found, info.class_names, resamples=resamples, seed=config.seed)


def located(model, batches):
    """Returns {"log_probabilities" (images, classes), "label" (images,), "iou" (images,), "box_yxyx", "truth_yxyx" (images, 4),
    "place" (images,)} of the images with an object; place: number among all images of the batches."""
    call = graphs.of_model(model, "localization.locate", lambda model: tf.function(lambda images: model.locate(images)))
    rows, first = [], 0
    for inputs, targets in batches:
        answer = {name: value.numpy() for name, value in call(inputs["image"]).items()}
        answer |= {"label": targets["label"].numpy(), "truth_yxyx": targets["box_yxyx"].numpy()}
        answer["place"] = first + np.arange(len(answer["label"]))
        first += len(answer["label"])
        rows.append({name: value[answer["label"] >= 0] for name, value in answer.items()})
    found = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    return found | {"iou": pair_iou(found["box_yxyx"], found["truth_yxyx"])}


def pair_iou(first, second):
    """Returns the intersection over union (n,) of pairs of boxes (n, 4), as float64; 0 for boxes that are empty or not finite."""
    first, second = (np.asarray(boxes, np.float64) for boxes in (first, second))
    finite = np.isfinite(first).all(axis=1) & np.isfinite(second).all(axis=1)
    first, second = (np.where(finite[:, None], boxes, 0.0) for boxes in (first, second))
    shared = _area(np.concatenate([np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])], axis=1))
    union = _area(first) + _area(second) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def summary(found, class_names, *, resamples=0, seed=0):
    """Returns the metrics of what `located` returned, see `evaluate`."""
    labels, iou = found["label"], found["iou"]
    if not len(labels):
        return {"localized": 0.0, "right_iou": 0.0, "accuracy": 0.0, "mean_iou": 0.0}
    right = found["log_probabilities"].argmax(axis=1) == labels
    values = {"localized": right & (iou >= IOU), "right_iou": right * iou, "mean_iou": iou}
    of_class = classification_metrics.summary(found["log_probabilities"], labels, class_names)
    metrics = {name: float(value.mean()) for name, value in values.items()} | of_class
    for name in ("iou", "localized"):
        value = values["mean_iou" if name == "iou" else name]
        metrics[f"per_class_{name}"] = {
            text: float(value[labels == k].mean()) for k, text in enumerate(class_names) if (labels == k).any()}
    if resamples:
        values["accuracy"] = right
        metrics["intervals"] = bootstrap.intervals(
            lambda rows: {name: value[rows].mean() for name, value in values.items()}, len(labels), resamples, seed)
    return metrics


def table(metrics):
    """Prints the metrics by class, as plain text unless the output is a terminal."""
    console = rich.console.Console(highlight=False)
    shown = rich.table.Table(box=rich.box.SIMPLE_HEAD if console.is_terminal else None)
    shown.add_column("class")
    for heading in ("right class", "mean IoU", "localized"):
        shown.add_column(heading, justify="right")
    for name in metrics.get("per_class", {}):
        shown.add_row(rich.text.Text(one_line(name)), *(
            f"{metrics[group][name]:.3f}" for group in ("per_class", "per_class_iou", "per_class_localized")))
    shown.add_section()
    shown.add_row("all", *(f"{metrics[name]:.3f}" for name in ("accuracy", "mean_iou", "localized")))
    console.print(shown)


def _area(boxes_yxyx):
    return np.prod(np.maximum(boxes_yxyx[:, 2:] - boxes_yxyx[:, :2], 0), axis=1)
