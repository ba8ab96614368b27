"""What the applications that answer for image files share: their bytes as a batch, and a name for each answer."""
import pathlib

import numpy as np
import tensorflow as tf

from training import images
from training.config import UserError


def request(paths):
    """Returns the inputs of a signature over `image_bytes` for files.

    Raises:
        UserError: no file, or one that cannot be read.
    """
    if not paths:
        raise UserError("name at least one image file")
    contents = []
    for path in map(pathlib.Path, paths):
        try:
            contents.append(path.read_bytes())
        except IsADirectoryError:
            raise UserError(f"{path} is a folder: name the images in it") from None
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from None
    return {"image_bytes": contents}


def warmup(size):
    """Returns {"image_bytes": two small images}, one of them enlarged to `size` and one shrunk."""
    random = np.random.default_rng(0)
    small, large = (random.integers(0, 256, (side, side + 8, 3), np.uint8) for side in (size // 2, size * 2))
    return {"image_bytes": [tf.io.encode_jpeg(large).numpy(), tf.io.encode_png(small).numpy()]}


def fitted(image_bytes, size):
    """Returns images (batch, size, size, 3), sides (batch, 2) int32 and scales (batch,) float32, errors (batch,)."""
    def fit(one):
        image, error = images.decode_or_error(one)
        square, scale = images.fit_square(image, size)
        return square, tf.shape(image)[:2], scale, error

    return tf.map_fn(fit, image_bytes, fn_output_signature=(
        tf.TensorSpec((size, size, 3), tf.float32), tf.TensorSpec((2,), tf.int32),
        tf.TensorSpec((), tf.float32), tf.TensorSpec((), tf.string)))


def at_least_one(function, batch):
    """Calls `function` on a batch of any size: networks need not know batches of none."""
    count = tf.shape(batch)[0]
    filled = tf.cond(count > 0, lambda: batch, lambda: tf.zeros((1, *batch.shape[1:]), batch.dtype))
    return {name: value[:count] for name, value in function(filled).items()}


def answer_names(paths):
    """Returns a name for each file's answer; files of one name in several folders are numbered."""
    names = []
    for path in paths:
        stem = pathlib.Path(path).stem
        name, number = stem, 2
        while name in names:
            name, number = f"{stem}-{number}", number + 1
        names.append(name)
    return names
