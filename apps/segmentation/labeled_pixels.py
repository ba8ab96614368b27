"""Images fitted into a square, with a class for every pixel, from any semantic segmentation data set of TFDS or this project."""
import dataclasses

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from apps.segmentation import augmentation
from training.config import UserError
from training.data import pipelines, sources, spec
from training.data.spec import Splits, spec_of
from training.datasets.masks import VOID as STORED_VOID
from training.vision import images
from training.vision.pixel_losses import VOID

_LARGEST_CACHE = 2 ** 30  # bytes of decoded pixels that are kept in memory, per split
_BUFFER = 2_000  # encoded photographs to shuffle among
_COUNTED = 2_000  # images of a split of which the pixels are counted, at most
_PETS = ("background", "pet")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Info(spec.Info):
    """What a segmenter needs to know about its data: the classes, and how frequent they are."""

    pixel_shares: list[float] = dataclasses.field(default_factory=list)
    """share of each class of the labeled training pixels"""


def datasets(config):
    """Returns the Splits of a semantic segmentation data set.

    inputs:  "image" uint8 (batch, side, side, 3), RGB: fitted into the top left of a square, the rest is black. The side is
             `image_size`, in training `crop_size` if that is set.
    targets: "classes" int32 (batch, side, side), `VOID` where there is no label and outside of the image.
             Validation and test also have "mask" string (batch,): the classes of the original image as PNG, with `STORED_VOID`
             for void; "class_ids" int32 (batch, classes): the class of the model for each value of the mask; "height" and
             "width" int32 (batch,) of the original.

    Raises:
        UserError: the data set is unknown, missing, empty, not a semantic segmentation data set, or has no labeled pixels.
    """
    prepared = sources.builder(config.dataset, config)
    masks = _Masks(prepared)
    parts = sources.parts(prepared)
    train = masks.examples(parts["train"])
    shares = _pixel_shares(masks, train, config)
    fits = _fits_in_memory(train, masks)
    recipe = augmentation.RECIPES.get(prepared.name, augmentation.PHOTOGRAPHS) if config.augment else None
    if fits:
        train = train.map(masks.decode, num_parallel_calls=tf.data.AUTOTUNE)

    def for_training(example, seed):
        return _train_element(masks.decode(example), seed, config, recipe)

    batches = pipelines.shuffled(train, for_training, config.batch_size, config.seed, buffer=_BUFFER, cache=fits,
                                 share=lambda share: masks.examples(parts["train"], share))
    info = Info(class_names=masks.class_names, pixel_shares=shares)
    described = spec_of(batches(0, 0, tf.distribute.InputContext()), info)
    return Splits(batches, *(_evaluation_batches(masks, part, parts[part], config) for part in ("validation", "test")), described)


class _Masks:
    """The images and masks of a prepared data set, whatever its features are called.

    Attributes:
        class_names: names of the class ids 0, 1, …

    Raises:
        UserError: the data set has no masks, or more classes than a mask can hold.
    """

    def __init__(self, prepared):
        self.prepared, features = prepared, prepared.info.features
        labeled = [name for name, feature in features.items() if isinstance(feature, tfds.features.LabeledImage)]
        if labeled:
            self.key, self.class_names = labeled[0], list(features[labeled[0]].names)
        elif {"instances", "objects"} <= set(features):  # digit_scenes
            self.key, self.class_names = "instances", ["background", *features["objects"].feature["label"].names]
        elif prepared.name == "oxford_iiit_pet":
            self.key, self.class_names = "segmentation_mask", list(_PETS)
        else:
            raise UserError(f"{prepared.name} has no masks with named classes in TFDS: put its images and masks into a folder "
                            "and use --dataset segmentation_folder")
        if len(self.class_names) > STORED_VOID:
            raise UserError(f"{prepared.name} has {len(self.class_names)} classes, more than the limit of {STORED_VOID}")

    def examples(self, split, share=None):
        """Returns the encoded examples of a split or of a share of it."""
        skip = tfds.decode.SkipDecoding()
        read = sources.read(self.prepared, split, share, decoders={"image": skip, self.key: skip})
        wanted = {"image", self.key, *(["objects"] if self.key == "instances" else [])}
        return read.map(lambda example: {name: example[name] for name in wanted}, num_parallel_calls=tf.data.AUTOTUNE)

    def decode(self, example):
        """Returns {"image": uint8 (height, width, 3), "classes": uint8 (height, width)}, and nothing done if it is that
        already."""
        if "classes" in example:
            return example
        image = self.prepared.info.features["image"].decode_example(example["image"])
        return {"image": tf.ensure_shape(image[..., :3], [None, None, 3]), "classes": self.classes(example)}

    def classes(self, example):
        """Returns the classes of an example, (height, width) uint8 with `STORED_VOID`."""
        mask = tf.ensure_shape(tf.io.decode_png(example[self.key], channels=1), [None, None, 1])[..., 0]
        if self.key == "instances":  # k + 1 where object k is visible
            numbers = tf.concat([[0], tf.cast(example["objects"]["label"], tf.uint8) + 1], 0)
            return tf.gather(numbers, tf.cast(mask, tf.int32))
        if self.key == "segmentation_mask":  # 1 pet, 2 background, 3 not classified
            return tf.gather(tf.constant([STORED_VOID, 1, 0, STORED_VOID], tf.uint8), tf.minimum(tf.cast(mask, tf.int32), 3))
        return tf.where(mask < len(self.class_names), mask, tf.cast(STORED_VOID, tf.uint8))

    def counts(self, examples):
        """Returns the labeled pixels by class over some examples, (classes,)."""
        size = len(self.class_names)

        def count(example):
            values = tf.reshape(tf.cast(self.classes(example), tf.int32), [-1])
            return tf.math.bincount(tf.where(values == STORED_VOID, size, values), minlength=size + 1, maxlength=size + 1)[:size]

        rows = examples.map(count, num_parallel_calls=tf.data.AUTOTUNE).batch(500).as_numpy_iterator()
        return np.sum([batch.sum(axis=0, dtype=np.int64) for batch in rows], axis=0)


def _pixel_shares(masks, examples, config):
    """Returns the share of each class of the labeled pixels of the training images, as a list.

    Raises:
        UserError: there are no labeled pixels, or all are of one class.
    """
    counts = masks.counts(examples.take(_COUNTED))
    if np.count_nonzero(counts) < 2:
        held = f"only pixels of the class {masks.class_names[int(counts.argmax())]!r}" if counts.any() else "no labeled pixels"
        raise UserError(f"the training split of {config.dataset} contains {held}, so there is nothing to learn: check its masks")
    missing = [name for name, count in zip(masks.class_names, counts) if not count]
    if missing:
        print(f"{config.dataset}, train: no pixel of {', '.join(missing[:10])}{' …' * (len(missing) > 10)}", flush=True)
    return (counts / counts.sum()).round(8).tolist()


def _evaluation_batches(masks, part, split, config):
    """Returns the batches of a part to evaluate on, "validation" or "test"; None for a validation that can choose nothing."""
    examples = masks.examples(split)
    if not masks.counts(examples.take(_COUNTED)).any():
        consequence = "the last weights are kept" if part == "validation" else "its metrics are meaningless"
        print(f"{config.dataset}, {part}: this split contains no labeled pixels, so {consequence}", flush=True)
        if part == "validation":
            return None
    is_small = int(examples.cardinality()) * config.image_size ** 2 * 4 <= _LARGEST_CACHE
    return pipelines.evaluated(
        examples, lambda example: _evaluation_element(masks, example, config.image_size), config.batch_size, is_small)


def _fits_in_memory(examples, masks):
    """Tells whether the decoded pixels of all examples fit, by the size of a few."""
    few = examples.take(8).map(lambda example: tf.size(masks.decode(example)["image"], out_type=tf.int64))
    sizes = list(few.as_numpy_iterator())
    return 4 / 3 * sum(sizes) / len(sizes) * int(examples.cardinality()) <= _LARGEST_CACHE


def _train_element(example, seed, config, recipe):
    image, classes = example["image"], _with_void(example["classes"])
    if recipe:
        image, classes = augmentation.augment(
            image, classes, config.image_size, config.crop_size or config.image_size, seed, recipe)
    else:
        image, classes = _fit(image, classes, config.image_size)
    return {"image": image}, {"classes": classes}


def _evaluation_element(masks, example, image_size):
    example = masks.decode(example)
    image, classes = _fit(example["image"], _with_void(example["classes"]), image_size)
    height, width = tf.unstack(tf.shape(example["image"])[:2])
    return {"image": image}, {
        "classes": classes, "mask": tf.io.encode_png(example["classes"][..., None], compression=1),
        "class_ids": tf.range(len(masks.class_names)), "height": height, "width": width}


def _fit(image, classes, image_size):
    """Returns the image as `images.fit_square` fits it, and its classes at the same places."""
    height, width = tf.unstack(tf.shape(image)[:2])
    sides = fitted_sides(height, width, image_size)
    fitted, _ = images.fit_square(image, image_size)
    scale = tf.cast(sides, tf.float32) / tf.cast([height, width], tf.float32)
    classes = augmentation.nearest(classes, (image_size, image_size), (0.0, 0.0), scale)
    return tf.cast(tf.round(fitted), tf.uint8), classes


def fitted_sides(height, width, image_size):
    """Returns the height and width, (2,) int32, that an image has after `images.fit_square`."""
    sides = tf.stack([height, width])
    longest = tf.maximum(height, width)
    return tf.maximum(tf.cast(tf.round(sides * image_size / longest), tf.int32), 1)


def _with_void(classes):
    classes = tf.cast(classes, tf.int32)
    return tf.where(classes == STORED_VOID, VOID, classes)
