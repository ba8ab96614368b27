"""Interface of an exported detector, the same for all systems of this application.

    serving_default: image_bytes (batch,) string
        -> boxes_yxyx (batch, 100, 4) float32, in pixels of the upright input image
           scores (batch, 100) float32, class_ids (batch, 100) int32, class_names (batch, 100) string
           count (batch,) int32: number of detections among the 100; the others are 0, -1 and ""
           error (batch,) string: empty, or the reason why this image has no detections
    embed: image_bytes (batch,) string -> features (batch, any) float32, error (batch,) string
"""
import numpy as np
import tensorflow as tf

from training.engine import files
from training.vision import image_signatures, images
from training.vision.detection.settings import MAX_DETECTIONS, SHOWN_SCORE


def signatures(model, config, info):
    """Returns {name: (function, {input name: TensorSpec})} for `training.serving.export.export`.

    Arguments:
        model: a `detector.Detector`; images are (batch, S, S, 3) float32.
        config: its `image_size` is S.
        info: its `class_names` are the names of the class ids 0, 1, ….
    """
    size = config.image_size

    def serving_default(image_bytes):
        fitted, sides, scales, errors = image_signatures.fitted(image_bytes, size)
        found = image_signatures.at_least_one(model.detect, fitted)
        return answers(found, sides, scales, errors, info.class_names)

    def embed(image_bytes):
        return image_signatures.features(image_bytes, size, lambda squares: _coarsest(model.pyramid_features(squares)))

    inputs = {"image_bytes": tf.TensorSpec((None,), tf.string)}
    return {"serving_default": (serving_default, inputs), "embed": (embed, inputs)}


def answers(found, sides, scales, errors, class_names):
    """Returns the outputs of `serving_default` for a batch.

    found:                 the result of `model.detect`, in pixels of the squares
    sides, scales, errors: of the images, as `image_signatures.fitted` returns them
    """
    # one more name than classes: what pads a row has the class -1
    names = tf.constant([*class_names, ""])
    failed = tf.strings.length(errors) > 0
    count = tf.where(failed, 0, tf.cast(found["count"], tf.int32))
    is_detection = tf.range(MAX_DETECTIONS) < count[:, tf.newaxis]  # (batch, detections)
    boxes = tf.cast(found["boxes_yxyx"], tf.float32) / scales[:, tf.newaxis, tf.newaxis]
    limits = tf.cast(tf.tile(sides, (1, 2)), tf.float32)[:, tf.newaxis]  # (batch, 1, yxyx)
    boxes = tf.clip_by_value(boxes, 0.0, limits)
    class_ids = tf.where(is_detection, tf.cast(found["class_ids"], tf.int32), -1)
    return {
        "boxes_yxyx": _rows(tf.where(is_detection[..., tf.newaxis], boxes, 0.0), (MAX_DETECTIONS, 4)),
        "scores": _rows(tf.where(is_detection, tf.cast(found["scores"], tf.float32), 0.0), (MAX_DETECTIONS,)),
        "class_ids": _rows(class_ids, (MAX_DETECTIONS,)),
        "class_names": _rows(tf.gather(names, tf.where(class_ids < 0, len(class_names), class_ids)), (MAX_DETECTIONS,)),
        "count": _rows(count, ()),
        "error": errors,
    }


def warmup(config):
    """Returns one warm-up request per signature, {signature: {input name: value}}."""
    return {name: image_signatures.warmup(config.image_size) for name in ("serving_default", "embed")}


def present(asked, answer, path):
    """Returns the detections in one image as (JSON document, lines to print), and renders the image to <path>.png."""
    from training.vision import drawing

    found = document(answer)
    if not found["error"]:
        shown = [detection for detection in found["detections"] if detection["score"] >= SHOWN_SCORE]
        drawn = drawing.draw(
            images.decode(asked.kept).numpy(),
            np.array([detection["box_yxyx"] for detection in shown], np.float32).reshape(-1, 4),
            [detection["class_name"] for detection in shown],
            np.array([detection["score"] for detection in shown], np.float32),
            [detection["class_id"] for detection in shown])
        with files.whole(path.with_name(path.name + ".png")) as temporary:
            temporary.write_bytes(tf.io.encode_png(drawn).numpy())
    return found, [summary(found)]


def _coarsest(levels):
    level = min(levels, key=lambda level: level.shape[1] * level.shape[2])
    return tf.reduce_mean(tf.cast(level, tf.float32), (1, 2))


def _rows(value, shape):
    return tf.ensure_shape(value, (None, *shape))


def document(answer):
    """Returns {"error": str, "detections": [...]} of one image, best first as the detector gives them."""
    detections = [{
        "box_yxyx": [round(float(side), 2) for side in answer["boxes_yxyx"][0, index]],
        "class_name": answer["class_names"][0, index].decode(),
        "class_id": int(answer["class_ids"][0, index]),
        "score": round(float(answer["scores"][0, index]), 6),
    } for index in range(int(answer["count"][0]))]
    return {"error": answer["error"][0].decode(), "detections": detections}


def summary(found):
    """Returns a line about the result of `document`: how many objects of each class, or why there is no answer."""
    if found["error"]:
        return f"no answer: {found['error']}"
    counts = {}
    for detection in found["detections"]:
        if detection["score"] >= SHOWN_SCORE:
            counts[detection["class_name"]] = counts.get(detection["class_name"], 0) + 1
    if not counts:
        best = max((detection["score"] for detection in found["detections"]), default=None)
        return "nothing found" + (f" (best score {best:.2f})" if best is not None else "")
    return ", ".join(f"{count} {name}" for name, count in counts.items())
