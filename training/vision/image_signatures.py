"""Common parts of signatures over image files: decoding a batch of files, and predicted classes."""
import functools

import numpy as np
import tensorflow as tf

from training.engine.names import printable
from training.serving import export
from training.serving.requests import Asked, read
from training.vision import files, images

KINDS = files.ENDINGS
"""extensions of the supported files"""
BATCH = 4
"""images per batch of `predict`: decoding and resizing a large photograph may need a gigabyte"""
BEST = 5
"""number of most probable classes in a prediction"""


def request(name):
    """Returns one image file as an input of a signature over `image_bytes`; formats that the graph cannot decode are
    converted.

    Raises:
        UserError: it cannot be read.
    """
    content = files.encoded(read(name, files.MAX_BYTES), printable(name))
    return Asked({"image_bytes": [content]}, content)


def warmup(size):
    """Returns {"image_bytes": two small images}, one of them enlarged to `size` and one shrunk."""
    random = np.random.default_rng(0)
    small, large = (random.integers(0, 256, (side, side + 8, 3), np.uint8) for side in (size // 2, size * 2))
    return {"image_bytes": [tf.io.encode_jpeg(large).numpy(), tf.io.encode_png(small).numpy()]}


def fitted(image_bytes, size):
    """Returns the decoded files as squares, and error messages for those that cannot be decoded.

    image_bytes: (batch,) string, the contents of the files
    size:        side of the squares, in pixels
    returns:     images (batch, size, size, 3) float32, the sides of the originals (batch, 2) int32 as (height, width), scales
                 (batch,) float32 = square / original, errors (batch,) string, empty where all is well
    """
    return tf.map_fn(_fit(size), image_bytes, fn_output_signature=(
        tf.TensorSpec((size, size, 3), tf.float32), tf.TensorSpec((2,), tf.int32),
        tf.TensorSpec((), tf.float32), tf.TensorSpec((), tf.string)))


@functools.lru_cache
def _fit(size):
    """Returns the function that decodes and fits one image; decoding has a large graph, which all signatures share."""
    def fit(one):
        image, error = images.decode_or_error(one)
        square, scale = images.fit_square(image, size)
        return square, tf.shape(image)[:2], scale, error

    return tf.function(fit, input_signature=[tf.TensorSpec((), tf.string)], autograph=False)


def at_least_one(function, batch):
    """Returns the result {name: value} of `function` for a batch of any size, without calling it on an empty batch."""
    count = tf.shape(batch)[0]
    filled = tf.cond(count > 0, lambda: batch, lambda: tf.zeros((1, *batch.shape[1:]), batch.dtype))
    return {name: value[:count] for name, value in function(filled).items()}


def features(image_bytes, size, function):
    """Returns the outputs of a signature that gives each image a vector of features; 0 for files that are not images.

    image_bytes: (batch,) string, the contents of the files
    size:        side of the squares, in pixels
    function:    squares (n, size, size, 3) float32 -> (n, features)
    returns:     features (batch, any), error (batch,) string
    """
    squares, _, _, errors = fitted(image_bytes, size)
    vectors = at_least_one(lambda batch: {"features": function(batch)}, squares)["features"]
    failed = tf.strings.length(errors)[:, tf.newaxis] > 0
    # the width belongs to the system, and one system may replace another: the signature leaves it open
    return {"features": export.any_size(tf.where(failed, 0.0, vectors)), "error": errors}


def pixels(image_bytes, size, channels):
    """Returns the decoded files as inputs of a network, and error messages for those that cannot be decoded.

    image_bytes: (batch,) string, the contents of the files
    size:        side of the squares, in pixels
    channels:    1 or 3
    returns:     images (batch, size, size, channels) uint8, failed (batch,) bool, errors (batch,) string
    """
    squares, _, _, errors = fitted(image_bytes, size)
    return tf.cast(tf.round(squares[..., :channels]), tf.uint8), tf.strings.length(errors) > 0, errors


def classes(probabilities, failed, errors, class_names):
    """Returns the outputs of a signature that predicts the class of each image; "", -1 and 0 for files that are not images.

    probabilities: (batch, classes)
    failed:        (batch,) bool, whether the file could not be decoded
    errors:        (batch,) string, the reason
    returns:       class_names (batch, best) string, class_ids (batch, best) int32, scores (batch, best), best first,
                   probabilities, error
    """
    names = tf.constant([*class_names, ""])
    probabilities = tf.where(failed[:, None], 0.0, probabilities)
    scores, class_ids = tf.math.top_k(probabilities, min(BEST, len(class_names)))
    class_ids = tf.where(failed[:, None], -1, class_ids)
    return {
        "class_names": export.any_size(tf.gather(names, tf.where(class_ids < 0, len(class_names), class_ids))),
        "class_ids": export.any_size(class_ids), "scores": export.any_size(scores),
        "probabilities": export.any_size(probabilities), "error": errors}


def present_classes(asked, answer, path):
    """Returns the classes of one image as (JSON document, lines to print)."""
    error = answer["error"][0].decode()
    if error:
        return {"error": error, "classes": []}, [f"no answer: {error}"]
    found = [{"class_name": class_name.decode(), "class_id": int(class_id), "score": round(float(score), 6)}
             for class_name, class_id, score in zip(*(answer[key][0] for key in ("class_names", "class_ids", "scores")))]
    return {"error": "", "classes": found}, [", ".join(f"{each['class_name']} {each['score']:.1%}" for each in found[:3])]
