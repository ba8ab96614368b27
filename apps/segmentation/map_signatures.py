"""Interface of an exported segmenter, the same for all systems that predict a class for every pixel.

    serving_default: image_bytes (batch,) string
        -> class_map (batch,) string: PNG of the upright image's size, whose gray values are the class ids
           score_map (batch,) string: PNG of the same size, the probability of each pixel's class from 0 to 255
           class_names (batch, classes) string and pixel_counts (batch, classes) int32: pixels of each class
           error (batch,) string: empty, or the reason why there is no answer for this image; the other outputs are then ""
           and 0
    embed: image_bytes (batch,) string -> features (batch, any) float32, error (batch,) string
"""
import io

import numpy as np
import tensorflow as tf
from PIL import Image

from apps.segmentation import original_size, palette, segmenter
from training.serving import export
from training.vision import image_signatures, images


def signatures(model, config, info):
    """Returns {name: (function, {input name: TensorSpec})} for `training.serving.export.export`."""
    size, classes = config.image_size, len(info.class_names)
    names = tf.constant(info.class_names)

    def encoded(one):
        probabilities, sides, error = one

        def answer():
            best, score = original_size.maps(probabilities, sides[0], sides[1])
            counts = tf.math.bincount(tf.cast(tf.reshape(best, [-1]), tf.int32), minlength=classes, maxlength=classes)
            return tf.io.encode_png(best[..., None]), tf.io.encode_png(score[..., None]), tf.ensure_shape(counts, [classes])

        return tf.cond(error == "", answer, lambda: (tf.constant(b""), tf.constant(b""), tf.zeros([classes], tf.int32)))

    def serving_default(image_bytes):
        squares, sides, _, errors = image_signatures.fitted(image_bytes, size)
        found = image_signatures.at_least_one(
            lambda batch: {"probabilities": segmenter.probabilities(model, tf.round(batch))}, squares)
        class_maps, score_maps, counts = tf.map_fn(
            encoded, (found["probabilities"], sides, errors), fn_output_signature=(
                tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.string), tf.TensorSpec((classes,), tf.int32)))
        names_by_row = tf.where(tf.strings.length(errors)[:, None] > 0, "", names[None])
        return {"class_map": class_maps, "score_map": score_maps, "class_names": export.any_size(names_by_row),
                "pixel_counts": export.any_size(counts), "error": errors}

    def embed(image_bytes):
        return image_signatures.features(image_bytes, size, lambda squares: model.embed(tf.round(squares)))

    inputs = {"image_bytes": tf.TensorSpec((None,), tf.string)}
    return {"serving_default": (serving_default, inputs), "embed": (embed, inputs)}


def present(asked, answer, path):
    """Returns the classes of one image as (JSON document, lines to print).

    Writes <path>.png, the image under the colors of the classes, and <path>.classes.png, a palette image of the class ids.
    """
    error = answer["error"][0].decode()
    if error:
        return {"error": error, "classes": []}, [f"no answer: {error}"]
    class_map = np.asarray(Image.open(io.BytesIO(answer["class_map"][0])))
    score_map = np.asarray(Image.open(io.BytesIO(answer["score_map"][0])))
    found = []
    for class_id, (name, count) in enumerate(zip(answer["class_names"][0], answer["pixel_counts"][0])):
        if count:
            found.append({"class_name": name.decode(), "class_id": class_id, "share": round(float(count) / class_map.size, 6),
                          "score": round(float(score_map[class_map == class_id].mean()) / 255, 6)})
    found.sort(key=lambda each: -each["share"])
    colors = palette.colors([name.decode() for name in answer["class_names"][0]])
    image = images.decode(asked.kept).numpy()
    palette.write(path.with_name(path.name + ".png"), Image.fromarray(palette.overlay(image, class_map, colors)))
    palette.write(path.with_name(path.name + ".classes.png"), palette.indexed(class_map, colors))
    shown = ", ".join(f"{each['class_name']} {each['share']:.1%}" for each in found[:5])
    return {"error": "", "classes": found}, [shown]
