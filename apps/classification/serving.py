"""What a client sends to an exported classifier and gets back; the same for every system of this application.

    serving_default: image_bytes (batch,) string
        -> class_names (batch, best) string, class_ids (batch, best) int32, scores (batch, best) float32: the most probable
           classes, best first, five of them or all if there are fewer
           probabilities (batch, classes) float32
           error (batch,) string: empty, or why this image has no answer; then the rest is "", -1 and 0
    embed: image_bytes (batch,) string -> features (batch, any) float32, error (batch,) string
"""
import tensorflow as tf

from apps.classification import classifier
from training import export, image_serving
from training.image_serving import present_classes as present  # noqa: F401  a part of this module's contract
from training.image_serving import request  # noqa: F401


def signatures(model, config, info):
    """Returns {name: (function, {input name: TensorSpec})} for `training.export.export`."""
    channels = model.inputs[0].shape[-1]

    def serving_default(image_bytes):
        images, failed, errors = image_serving.pixels(image_bytes, config.image_size, channels)
        answer = image_serving.at_least_one(
            lambda batch: {"probabilities": tf.nn.softmax(model({"image": batch}, training=False)["label"])}, images)
        return image_serving.classes(answer["probabilities"], failed, errors, info["class_names"])

    def embed(image_bytes):
        images, failed, errors = image_serving.pixels(image_bytes, config.image_size, channels)
        vectors = image_serving.at_least_one(lambda batch: {"features": classifier.features(model, batch)}, images)
        return {"features": export.any_size(tf.where(failed[:, None], 0.0, vectors["features"])), "error": errors}

    inputs = {"image_bytes": tf.TensorSpec((None,), tf.string)}
    return {"serving_default": (serving_default, inputs), "embed": (embed, inputs)}


def warmup(config):
    """Returns {signature: {input name: value}}."""
    return {name: image_serving.warmup(config.image_size) for name in ("serving_default", "embed")}
