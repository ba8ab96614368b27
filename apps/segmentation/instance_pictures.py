"""Pictures of instance masks, and all that detectors have."""
import numpy as np
from PIL import Image

from apps.segmentation import palette
from training.vision import drawing
from training.vision.detection import masks, metrics, pictures
from training.vision.detection.settings import SHOWN_SCORE

_SIDE = 384
"""pixels: smaller images are enlarged by a whole number, so that the edges of the masks are thin"""


def render(model, splits, config, info, figures):
    """Returns the Rendered `instances` and what `training.vision.detection.pictures` renders."""
    rendered = pictures.render(model, splits, config, info, figures)
    return rendered._replace(pictures=instances(model, splits, config, info) | rendered.pictures)


def instances(model, splits, config, info, count=8):
    """Returns {"instances": uint8 (n, height, width, 3)} for the first `count` test images of the first batch: the true masks
    above, those with a score of at least `SHOWN_SCORE` below, each in its own color."""
    batch = next(iter(splits.test))
    shown, scales = drawing.uint8(batch[0]["image"][:count]), batch[1]["scale"].numpy()[:count]
    objects, detections, _ = metrics.detect(model, [batch], config)
    drawn = []
    for image, truth, found, scale in zip(shown, objects, detections, scales):
        size = [max(1, round(truth[side] * float(scale))) for side in ("height", "width")]
        good = np.flatnonzero(found["scores"] >= SHOWN_SCORE)
        found = {name: [values[index] for index in good] for name, values in found.items()}
        drawn.append(np.concatenate([_drawn(image, truth, size, scale, info, "truth"),
                                     _drawn(image, found, size, scale, info, "found")]))
    return {"instances": np.stack(drawn)}


def instance_map(found):
    """Returns which of several masks each pixel belongs to, int32 (height, width): k + 1 for the first one that has it.

    found: list of masks, bool (height, width), or None, the best first
    """
    made = None
    for number, mask in reversed(list(enumerate(found, start=1))):
        if mask is not None:
            made = np.where(mask, number, 0 if made is None else made)
    return made


def overlay(image, numbers, boxes_yxyx, labels):
    """Returns an image, at least as large, with each instance under a color of its own and a box of that color.

    image:      uint8 (height, width, 3)
    numbers:    (height, width), the result of `instance_map`
    boxes_yxyx: (n, 4) in pixels of the image, the best first
    labels:     n texts
    """
    colors = palette.colors(["background", *labels])
    painted = palette.overlay(image, numbers, colors)
    lines = [tuple(map(int, color)) for color in colors[1:]]
    return drawing.boxes(painted, np.reshape(boxes_yxyx, (-1, 4))[::-1], lines[::-1], labels[::-1])


def _drawn(image, objects, size, scale, info, title):
    """Draws masks and boxes, which are in pixels of the original, on the square image, whose part of this size is the image."""
    factor = -(-_SIDE // max(image.shape[:2]))
    image = image.repeat(factor, axis=0).repeat(factor, axis=1)
    numbers = instance_map([None if runs is None else masks.decoded(runs) for runs in objects["masks"]])
    if numbers is not None:
        size = [side * factor for side in size]
        enlarged = Image.fromarray(numbers.astype(np.int32)).resize(size[::-1], Image.Resampling.NEAREST)
        whole = np.zeros(image.shape[:2], np.int32)
        whole[:size[0], :size[1]] = np.asarray(enlarged)[:image.shape[0], :image.shape[1]]
    else:
        whole = np.zeros(image.shape[:2], np.int32)
    labels = [info.class_names[int(class_id)] for class_id in objects["class_ids"]]
    if "scores" in objects:
        labels = [f"{label} {score:.2f}" for label, score in zip(labels, objects["scores"])]
    return drawing.titled(overlay(image, whole, np.reshape(objects["boxes_yxyx"], (-1, 4)) * scale * factor, labels), title)
