"""Interface of an exported localizer, the same for all settings of its heads.

    serving_default: image_bytes (batch,) string
        -> class_names (batch, best) string, class_ids (batch, best) int32, scores (batch, best) float32: the most probable
           classes, best first, five of them or all if there are fewer
           probabilities (batch, classes) float32
           box_yxyx (batch, 4) float32: box of the most probable class, in pixels of the upright input image
           error (batch,) string: empty, or the reason why there is no prediction for this image; the other outputs are then
           "", -1 and 0
    embed: image_bytes (batch,) string -> features (batch, any) float32, error (batch,) string
"""
import numpy as np
import tensorflow as tf

from training.engine import files
from training.vision import image_signatures, images
from training.vision.image_signatures import BATCH, KINDS, request  # noqa: F401  parts of this module's contract

PREDICT = "serving_default"


def signatures(model, config, info):
    """Returns {name: (function, {input name: TensorSpec})} for `training.serving.export.export`."""
    def serving_default(image_bytes):
        squares, sides, scales, errors = image_signatures.fitted(image_bytes, config.image_size)
        failed = tf.strings.length(errors) > 0
        found = image_signatures.at_least_one(model.locate, tf.round(squares))  # rounded, as training images are
        limits = tf.cast(tf.tile(sides, (1, 2)), tf.float32)
        box_yxyx = tf.clip_by_value(found["box_yxyx"] / scales[:, None], 0.0, limits)
        answer = image_signatures.classes(tf.exp(found["log_probabilities"]), failed, errors, info.class_names)
        return answer | {"box_yxyx": tf.ensure_shape(tf.where(failed[:, None], 0.0, box_yxyx), (None, 4))}

    def embed(image_bytes):
        return image_signatures.features(image_bytes, config.image_size, lambda squares: model.embed(tf.round(squares)))

    inputs = {"image_bytes": tf.TensorSpec((None,), tf.string)}
    return {"serving_default": (serving_default, inputs), "embed": (embed, inputs)}


def warmup(config):
    """Returns one warm-up request per signature, {signature: {input name: value}}."""
    return {name: image_signatures.warmup(config.image_size) for name in ("serving_default", "embed")}


def present(asked, answer, path):
    """Returns the classes and the box of one image as (JSON document, lines to print), and renders the image to <path>.png."""
    from training.vision import drawing

    found, lines = image_signatures.present_classes(asked, answer, path)
    if found["error"]:
        return found, lines
    found["box_yxyx"] = [round(float(side), 2) for side in answer["box_yxyx"][0]]
    best = found["classes"][0]
    drawn = drawing.draw(images.decode(asked.kept).numpy(), [found["box_yxyx"]], [best["class_name"]],
                         np.array([best["score"]]), [best["class_id"]])
    with files.whole(path.with_name(path.name + ".png")) as temporary:
        temporary.write_bytes(tf.io.encode_png(drawn).numpy())
    top, left, bottom, right = found["box_yxyx"]
    return found, [f"{lines[0]}; box from row {top:.0f} to {bottom:.0f} and column {left:.0f} to {right:.0f}"]
