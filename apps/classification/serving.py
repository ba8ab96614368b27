"""What a client sends to an exported classifier and gets back; the same for every system of this application.

    serving_default: image_bytes (batch,) string
        -> class_names (batch, best) string, class_ids (batch, best) int32, scores (batch, best) float32: the most probable
           classes, best first, five of them or all if there are fewer
           probabilities (batch, classes) float32
           error (batch,) string: empty, or why this image has no answer; then the rest is "", -1 and 0
    embed: image_bytes (batch,) string -> features (batch, any) float32, error (batch,) string
"""
import json
import pathlib

import tensorflow as tf

from apps.classification import classifier
from training import export, image_serving
from training.image_serving import request  # noqa: F401  a part of this module's contract

BEST = 5


def signatures(model, config, info):
    """Returns {name: (function, {input name: TensorSpec})} for `training.export.export`."""
    names = tf.constant([*info["class_names"], ""])
    channels = model.inputs[0].shape[-1]
    best = min(BEST, len(info["class_names"]))

    def pixels(image_bytes):
        fitted, _, _, errors = image_serving.fitted(image_bytes, config.image_size)
        return tf.cast(tf.round(fitted[..., :channels]), tf.uint8), tf.strings.length(errors) > 0, errors

    def serving_default(image_bytes):
        images, failed, errors = pixels(image_bytes)
        answer = image_serving.at_least_one(
            lambda batch: {"probabilities": tf.nn.softmax(model({"image": batch}, training=False)["label"])}, images)
        probabilities = tf.where(failed[:, None], 0.0, answer["probabilities"])
        scores, class_ids = tf.math.top_k(probabilities, best)
        class_ids = tf.where(failed[:, None], -1, class_ids)
        return {
            "class_names": export.any_size(tf.gather(names, tf.where(class_ids < 0, len(info["class_names"]), class_ids))),
            "class_ids": export.any_size(class_ids), "scores": export.any_size(scores),
            "probabilities": export.any_size(probabilities), "error": errors}

    def embed(image_bytes):
        images, failed, errors = pixels(image_bytes)
        vectors = image_serving.at_least_one(lambda batch: {"features": classifier.features(model, batch)}, images)
        return {"features": export.any_size(tf.where(failed[:, None], 0.0, vectors["features"])), "error": errors}

    inputs = {"image_bytes": tf.TensorSpec((None,), tf.string)}
    return {"serving_default": (serving_default, inputs), "embed": (embed, inputs)}


def warmup(config):
    """Returns {signature: {input name: value}}."""
    return {name: image_serving.warmup(config.image_size) for name in ("serving_default", "embed")}


def present(paths, answer, folder):
    """Writes <name>.json for every file into `folder` and prints one line for each."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    width = max(len(str(path)) for path in paths)
    for row, (path, name) in enumerate(zip(paths, image_serving.answer_names(paths))):
        error = answer["error"][row].decode()
        found = [] if error else [
            {"class_name": class_name.decode(), "class_id": int(class_id), "score": round(float(score), 6)}
            for class_name, class_id, score in zip(*(answer[key][row] for key in ("class_names", "class_ids", "scores")))]
        document = {"file": str(path), "error": error, "classes": found}
        (folder / f"{name}.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        said = f"no answer: {error}" if error else ", ".join(f"{each['class_name']} {each['score']:.1%}" for each in found[:3])
        print(f"{str(path):{width}}  {said}")
    print(f"{len(paths)} answer{'s' if len(paths) > 1 else ''} in {folder}")
