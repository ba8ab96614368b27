"""Images with one class each, from any such set of TFDS or of ours."""
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from apps import classification
from training import data, images
from training.config import UserError

_LARGEST_IN_MEMORY = 2 ** 30
"""bytes of pixels of a split that are kept in memory; a larger one is decoded again in each epoch"""
_BUFFER = 2_000  # encoded photographs to shuffle among
_SHIFT = 1 / 8
"""farthest shift of an augmented image, as a share of its side: 4 pixels of 32, as in He et al., 2016"""


def datasets(config):
    """Returns the Splits of a set of images with one label each.

    inputs:  "image" uint8 (batch, image_size, image_size, channels): fitted into the square top left, the rest black; one
             channel where the set is grey, else RGB
    targets: "label" int32 (batch,)
    info:    "class_names"; "mean" and "deviation" of the training pixels by channel, from 0 to 255

    Raises:
        UserError: the data set is unknown, not there, empty, or no classification set.
    """
    prepared = data.builder(config.dataset, config)
    features = prepared.info.features
    if not {"image", "label"} <= set(features) or not isinstance(features["label"], tfds.features.ClassLabel):
        raise UserError(f"{config.dataset} is no classification set: its examples have no image with one label")
    channels = 1 if features["image"].shape[-1] == 1 else 3
    size = config.image_size
    parts = data.parts(prepared)

    def fitted(example):
        image = features["image"].decode_example(example["image"])
        image, _ = images.fit_square(tf.image.grayscale_to_rgb(image) if channels == 1 else image[..., :3], size)
        return {"image": tf.cast(tf.round(image[..., :channels]), tf.uint8)}, {"label": tf.cast(example["label"], tf.int32)}

    def examples(part):
        return data.read(prepared, parts[part], decoders={"image": tfds.decode.SkipDecoding()})

    def fits(part):
        return int(part.cardinality()) * size ** 2 * channels <= _LARGEST_IN_MEMORY

    def judged(part):
        if fits(part):  # no Dataset.cache: whoever looks at the first batch only could leave it unfinished
            return tf.data.Dataset.from_tensor_slices(arrays_of(part)).batch(config.batch_size)
        return data.batched(part, lambda example, seed: fitted(example), config.batch_size)

    def arrays_of(part):
        batches = list(part.map(fitted, num_parallel_calls=tf.data.AUTOTUNE).batch(1000).as_numpy_iterator())
        return tf.nest.map_structure(lambda *values: np.concatenate(values), *batches)

    train = examples("train")
    if fits(train):
        arrays = arrays_of(train)
        sample = arrays[0]["image"]
        batches = data.in_memory(arrays, config.batch_size, config.seed)
    else:
        sample = np.stack([inputs["image"] for inputs, _ in train.take(1000).map(fitted).as_numpy_iterator()])
        batches = data.shuffled(train, lambda example, seed: fitted(example), config.batch_size, config.seed, buffer=_BUFFER)
    if config.augment:
        mirror = prepared.name not in classification.UPRIGHT

        def changed(inputs, targets, seed):
            return {"image": augment(inputs["image"], seed, mirror, config.erase)}, targets

        batches = data.augmented(batches, changed, config.seed)
    info = {"class_names": features["label"].names, **statistics(sample)}
    spec = data.spec_of(batches(0, 0, tf.distribute.InputContext()), info)
    return data.Splits(batches, judged(examples("validation")), judged(examples("test")), spec)


def augment(pixels, seed, mirror, erase):
    """Returns images that are shifted by up to an eighth of their side, half of them mirrored, with a square blanked.

    pixels: uint8 (batch, side, side, channels)
    seed:   (2,) int64; the same gives the same
    mirror: whether left and right may change places
    erase:  side of the blanked square, which may lie partly outside, as a share of the image's; 0: none

    Source: He et al., 2016, section 4.2, shifts and mirrors; DeVries and Taylor, 2017, "Cutout".
    """
    count, side = tf.shape(pixels)[0], pixels.shape[1]
    shift = max(1, round(side * _SHIFT))
    seeds = tf.random.split(seed, 3)
    places = tf.range(side)[None]
    starts = tf.random.stateless_uniform((count, 2), seeds[0], 0, 2 * shift + 1, tf.int32)
    is_mirrored = tf.random.stateless_uniform((count, 1), seeds[1], 0, 2, tf.int32) == 1
    columns = starts[:, 1:] + (tf.where(is_mirrored, side - 1 - places, places) if mirror else places)
    padded = tf.pad(pixels, [[0, 0], [shift, shift], [shift, shift], [0, 0]])
    moved = tf.gather(tf.gather(padded, starts[:, :1] + places, batch_dims=1), columns, axis=2, batch_dims=1)
    if erase:
        half = erase * side / 2
        centres = tf.random.stateless_uniform((count, 2, 1), seeds[2], 0.0, float(side))
        near = tf.abs(tf.range(side, dtype=tf.float32) + 0.5 - centres) < half  # (batch, yx, side)
        hidden = near[:, 0, :, None] & near[:, 1, None]
        moved = tf.where(hidden[..., None], tf.zeros_like(moved), moved)
    return tf.ensure_shape(moved, pixels.shape)


def statistics(pixels):
    """Returns {"mean", "deviation"}: lists by channel of uint8 pixels (images, height, width, channels)."""
    values = pixels.reshape(-1, pixels.shape[-1])
    mean = values.mean(axis=0, dtype=np.float64)
    deviation = np.sqrt(np.maximum((values.astype(np.float32) ** 2).mean(axis=0, dtype=np.float64) - mean ** 2, 1.0))
    return {"mean": mean.round(3).tolist(), "deviation": deviation.round(3).tolist()}
