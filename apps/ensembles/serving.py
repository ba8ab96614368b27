"""Interface of an exported ensemble, the same for all systems and compatible with apps.classification.

    serving_default: image_bytes (batch,) string
        -> class_names (batch, best) string, class_ids (batch, best) int32, scores (batch, best) float32: the most probable
           classes, best first, five of them or all if there are fewer
           probabilities (batch, classes) float32
           error (batch,) string: empty, or the reason why this image has no prediction; the other outputs are then "", -1 and
           0
    explain: image_bytes (batch,) string
        -> member_probabilities (batch, members, classes) float32: of each member alone; for gradient boosting, the softmax of
           each member's correction
           error (batch,) string
"""
import tensorflow as tf

from apps.ensembles import members
from training.serving import export
from training.vision import image_signatures
from training.vision.image_signatures import BATCH, KINDS, request  # noqa: F401  parts of this module's contract
from training.vision.image_signatures import present_classes as present  # noqa: F401

PREDICT = "serving_default"


def signatures(model, config, info):
    """Returns {name: (function, {input name: TensorSpec})} for `training.serving.export.export`."""
    def outputs(image_bytes):
        images, failed, errors = image_signatures.pixels(image_bytes, config.image_size, model.channels)
        return model({"image": images}, training=False), failed, errors

    def serving_default(image_bytes):
        answer, failed, errors = outputs(image_bytes)
        return image_signatures.classes(model.answer(answer), failed, errors, info.class_names)

    def explain(image_bytes):
        answer, failed, errors = outputs(image_bytes)
        counted = answer["members"][:, :members.read(model.started)]
        return {"member_probabilities": export.any_size(tf.where(failed[:, None, None], 0.0, counted)), "error": errors}

    inputs = {"image_bytes": tf.TensorSpec((None,), tf.string)}
    return {"serving_default": (serving_default, inputs), "explain": (explain, inputs)}


def warmup(config):
    """Returns one warm-up request per signature, {signature: {input name: value}}."""
    return {name: image_signatures.warmup(config.image_size) for name in ("serving_default", "explain")}
