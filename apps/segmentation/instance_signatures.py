"""Interface of an exported system that finds single objects with a mask each.

    serving_default: image_bytes (batch,) string
        -> boxes_yxyx, scores, class_ids, class_names, count, error: as in `training.vision.detection.signatures`
           masks (batch, 100, 28, 28) uint8: probability of each cell of the detection's box, from 0 to 255; 0 where padded
           instance_map (batch,) string: PNG of the upright image's size, in which k + 1 marks the pixels of detection k and 0 all
           others. Where masks overlap, the better detection has the pixel, so a client that wants fewer detections may set all
           values above their number to 0. It is "" with an error.
    embed: as in `training.vision.detection.signatures`
"""
import io

import numpy as np
import tensorflow as tf
from PIL import Image

import layers
from apps.segmentation import instance_pictures, palette
from training.vision import image_signatures, images
from training.vision.detection import masks
from training.vision.detection import signatures as detection
from training.vision.detection.mask_rcnn import MASK_SIDE
from training.vision.detection.settings import SHOWN_SCORE


def signatures(model, config, info):
    """Returns {name: (function, {input name: TensorSpec})} for `training.serving.export.export`."""
    crop = layers.MaskCrop(MASK_SIDE, dtype="float32")

    def serving_default(image_bytes):
        squares, sides, scales, errors = image_signatures.fitted(image_bytes, config.image_size)
        found = image_signatures.at_least_one(model.detect, squares)
        answer = detection.answers(found, sides, scales, errors, info.class_names)
        # of the answered boxes: the found ones may extend into the part of the square that no image reaches
        probabilities = crop(found["masks"], found["boxes_yxyx"] / scales[:, None, None], answer["boxes_yxyx"])
        shares = tf.round(tf.where((answer["class_ids"] >= 0)[..., None, None], probabilities, 0.0) * 255)
        maps = tf.map_fn(_encoded, (shares / 255, answer["boxes_yxyx"], answer["count"], sides, errors),
                         fn_output_signature=tf.TensorSpec((), tf.string), parallel_iterations=1)
        return answer | {"masks": tf.cast(shares, tf.uint8), "instance_map": maps}

    found = detection.signatures(model, config, info)
    return found | {"serving_default": (serving_default, found["serving_default"][1])}


def present(asked, answer, path):
    """Returns the detections in one image as (JSON document, lines to print).

    Writes <path>.png, the image under the colors of the instances, and <path>.instances.png, a palette image whose indices are 0
    for the background and k + 1 for the k-th detection of the document. Both have only detections with a score of at least
    `SHOWN_SCORE`. The document has all of them, each with the mask as COCO's run lengths.
    """
    found = detection.document(answer)
    if found["error"]:
        return found, [detection.summary(found)]
    image = images.decode(asked.kept).numpy()
    height, width = image.shape[:2]
    for index, each in enumerate(found["detections"]):
        mask = masks.pasted(answer["masks"][0, index] / 255, answer["boxes_yxyx"][0, index], height, width)
        each["mask"] = {"size": [height, width], "counts": masks.run_lengths(mask)["counts"].decode()}
    shown = [each for each in found["detections"] if each["score"] >= SHOWN_SCORE]
    numbers = np.asarray(Image.open(io.BytesIO(answer["instance_map"][0])))
    numbers = np.where(numbers <= len(shown), numbers, 0)
    labels = [f"{each['class_name']} {each['score']:.2f}" for each in shown]
    drawn = instance_pictures.overlay(image, numbers, [each["box_yxyx"] for each in shown], labels)
    palette.write(path.with_name(path.name + ".png"), Image.fromarray(drawn))
    palette.write(path.with_name(path.name + ".instances.png"), palette.indexed(numbers, palette.colors(["background", *labels])))
    return found, [detection.summary(found)]


def _encoded(one):
    """Returns the instance map of one image as a PNG file; detections are painted from the last to the first."""
    probabilities, boxes_yxyx, count, sides, error = one

    def paint(number, painted):
        box, mask = boxes_yxyx[number - 1], probabilities[number - 1]
        first, last = (tf.clip_by_value(tf.cast(x, tf.int32), 0, sides) for x in (tf.floor(box[:2]), tf.math.ceil(box[2:])))
        rows, columns = (_weights(box[axis], box[axis + 2], first[axis], last[axis], mask.shape[0]) for axis in (0, 1))
        inside = rows @ mask @ tf.transpose(columns) >= 0.5
        inside = tf.pad(inside, tf.stack([first, sides - last], axis=1))
        return number - 1, tf.where(inside, tf.cast(number, tf.uint8), painted)

    def encode():
        _, painted = tf.while_loop(lambda number, _: number > 0, paint, (count, tf.zeros(sides, tf.uint8)), shape_invariants=(
            tf.TensorShape(()), tf.TensorShape((None, None))), parallel_iterations=1)
        return tf.io.encode_png(painted[..., None])

    return tf.cond(error == "", encode, lambda: tf.constant(b""))


def _weights(start, end, first, last, cells):
    """Returns what `masks.weights` returns, (last - first, cells), as operations of the graph."""
    pixels = tf.cast(tf.range(first, last), tf.float32) + 0.5
    places = (pixels - start) / tf.maximum(end - start, 1e-6) * cells - 0.5
    return tf.maximum(1 - tf.abs(places[:, None] - tf.range(cells, dtype=tf.float32)), 0.0)
