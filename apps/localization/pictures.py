"""Pictures: true and predicted boxes, the worst predictions, confusion of classes, and the features in the projector."""
import itertools

import keras
import numpy as np

from apps.localization import evaluation
from training.app import Rendered
from training.vision import classification_pictures, drawing

_TRUTH, _FOUND, _WRONG = drawing.COLORS[7], drawing.COLORS[1], drawing.COLORS[5]
_SHOWN = 12
_MOST_POINTS = 1000


def render(model, splits, config, info, metrics):
    """Returns the Rendered pictures, see `pictures`, with the features of the test objects as activations and embedding."""
    batches = list(itertools.islice(splits.test, config.limit_steps))
    found = evaluation.located(model, batches)
    if not len(found["label"]):  # --limit-steps may leave none with an object
        return Rendered()
    vectors, rows, thumbnails = embedding(model, batches, info)
    return Rendered(pictures(batches, found, info), {"features": vectors}, embeddings={"objects": (vectors, rows, thumbnails)})


def pictures(batches, found, info):
    """Returns {name: uint8 (1, height, width, 3)}.

    located:   the first test images with an object: the true box in white, the predicted one in blue, or in orange if the
               class is wrong or its IoU is below 0.5
    worst:     the test images with the lowest IoU, where a wrong class counts 0; those with the surest wrong class first
    confusion: confusion matrix of true and predicted classes

    batches: list of (inputs, targets)
    found:   what `evaluation.located` returned for them
    """
    images = np.concatenate([drawing.uint8(inputs["image"]) for inputs, _ in batches])[found["place"]]
    scores = found["log_probabilities"].max(axis=1)
    is_right = found["log_probabilities"].argmax(axis=1) == found["label"]
    worst = np.lexsort((-scores, is_right * found["iou"]))
    return {
        "located": _drawn(images, found, range(len(images))[:_SHOWN], info),
        "worst": _drawn(images, found, worst[:_SHOWN], info),
        "confusion": classification_pictures.confusion(found["log_probabilities"], found["label"], info.class_names)[None]}


def embedding(model, batches, info, side=32):
    """Returns (vectors, metadata, thumbnails) of the objects of test batches: features, class and content of the true box."""
    vectors, rows, thumbnails = [], [], []
    for inputs, targets in batches:
        features = keras.ops.convert_to_numpy(model.embed(inputs["image"])).astype(np.float32)
        images = drawing.uint8(inputs["image"])
        for row in np.flatnonzero(targets["label"].numpy() >= 0):
            vectors.append(features[row])
            rows.append({"class": info.class_names[targets["label"].numpy()[row]], "number": len(rows)})
            thumbnails.append(drawing.thumbnail(images[row], targets["box_yxyx"].numpy()[row], side))
        if len(rows) >= _MOST_POINTS:
            break
    return np.array(vectors[:_MOST_POINTS], np.float32), rows[:_MOST_POINTS], np.array(thumbnails[:_MOST_POINTS], np.uint8)


def _drawn(images, found, places, info, columns=4):
    """Returns a grid of images with their true and predicted boxes, uint8 (1, height, width, 3)."""
    cells = []
    for place in places:
        log_probabilities, label, iou = (found[name][place] for name in ("log_probabilities", "label", "iou"))
        guess = int(log_probabilities.argmax())
        is_right = guess == label and iou >= evaluation.IOU
        boxes_yxyx = np.stack([found["truth_yxyx"][place], found["box_yxyx"][place]])
        drawn = drawing.boxes(images[place], boxes_yxyx, [_TRUTH, _FOUND if is_right else _WRONG], ["", ""])
        title = f"{info.class_names[guess]} {np.exp(log_probabilities[guess]):.0%}, IoU {iou:.2f}"
        cells.append(drawing.titled(drawn, title if guess == label else f"{title}, is {info.class_names[label]}"))
    cells += [np.full_like(cells[0], 32)] * (-len(cells) % columns)
    return drawing.grid(cells, columns)[None]
