"""Images fitted into a square, with the class and the box of their largest object."""
import tensorflow as tf

from training.config import UserError
from training.data import pipelines, sources
from training.data.spec import Info, Splits, spec_of  # noqa: F401  Info is a part of this module's contract
from training.vision.detection import augmentation, boxed_images


def datasets(config):
    """Returns the Splits of a detection data set, of which each image has one object: the largest.

    inputs:  "image" uint8 (batch, image_size, image_size, 3), RGB: fitted into the top left of the square, the rest is black
    targets: "label" int32 (batch,), -1 without an object; "box_yxyx" float32 (batch, 4) in pixels of the square, zeros
             without an object

    Crowds and difficult objects are no objects here. In training, an object that the augmentation has cut off is none either.
    Images without an object are neither learned nor evaluated; one line for each split says how many there are. A validation
    split without objects is None.

    Raises:
        UserError: the data set is unknown, missing, empty, not a detection data set, or has no objects to learn or to test on.
    """
    prepared = sources.builder(config.dataset, config)
    info = Info(class_names=boxed_images.class_names_of(prepared))
    parts = sources.parts(prepared)
    contents = {part: boxed_images.Contents(prepared, split, config) for part, split in parts.items()}
    boxed_images.check_learnable(contents["train"], config)
    has_objects = {part: _say_empty(found, f"{config.dataset}, {part}") for part, found in contents.items()}
    if not has_objects["test"]:
        raise UserError(f"the test split of {config.dataset} contains no objects to locate: check its annotations")
    batches = _training_batches(prepared, parts["train"], config)
    spec = spec_of(batches(0, 0, tf.distribute.InputContext()), info)
    validation = _evaluation_batches(prepared, parts["validation"], config) if has_objects["validation"] else None
    return Splits(batches, validation, _evaluation_batches(prepared, parts["test"], config), spec)


def largest(example):
    """Returns (box_yxyx (4,) in pixels of the image, class id ()) of an example's largest object; zeros and -1 without one.

    example: as from `boxed_images.examples_of`, with a decoded image
    """
    boxes_yxyx, is_box = boxed_images.boxes_in_pixels(example)
    is_object = is_box & ~(example["is_crowd"] | example["is_difficult"])
    areas = tf.reduce_prod(boxes_yxyx[:, 2:] - boxes_yxyx[:, :2], axis=1)
    place = tf.argmax(tf.concat([tf.where(is_object, areas, -1.0), [0.0]], axis=0))  # the last one stands for no object
    return (tf.concat([boxes_yxyx, tf.zeros((1, 4))], axis=0)[place],
            tf.concat([example["class_ids"], [-1]], axis=0)[place])


def _training_batches(prepared, split, config):
    examples = boxed_images.examples_of(prepared, split)
    fits = boxed_images.fits_in_memory(examples, prepared)
    if fits:
        examples = examples.map(lambda example: boxed_images.decoded(prepared, example), num_parallel_calls=tf.data.AUTOTUNE)
    recipe = augmentation.RECIPES.get(prepared.name, augmentation.PHOTOGRAPHS) if config.augment else None

    def element(example, seed):
        example = boxed_images.decoded(prepared, example)
        return _augmented(example, seed, config.image_size, recipe) if recipe else _fitted(example, config.image_size)

    return pipelines.shuffled(examples, element, config.batch_size, config.seed, buffer=boxed_images.BUFFER, cache=fits,
                              share=lambda share: boxed_images.examples_of(prepared, split, share))


def _evaluation_batches(prepared, split, config):
    examples = boxed_images.examples_of(prepared, split)
    is_small = int(examples.cardinality()) * config.image_size ** 2 * 3 <= boxed_images.LARGEST_CACHE
    return pipelines.evaluated(examples, lambda example: _fitted(boxed_images.decoded(prepared, example), config.image_size),
                               config.batch_size, is_small)


def _fitted(example, image_size):
    image, scale = boxed_images.fitted(example["image"], image_size)
    box_yxyx, class_id = largest(example)
    return {"image": image}, {"label": class_id, "box_yxyx": box_yxyx * scale}


def _augmented(example, seed, image_size, recipe):
    box_yxyx, class_id = largest(example)
    image, boxes_yxyx, seen = augmentation.augment(example["image"], box_yxyx[None], image_size, seed, recipe)
    box_yxyx = boxes_yxyx[0]
    is_object = (class_id >= 0) & (seen[0] >= recipe.least_seen) & tf.reduce_all(box_yxyx[2:] - box_yxyx[:2] >= 1)
    return {"image": image}, {"label": tf.where(is_object, class_id, -1), "box_yxyx": tf.where(is_object, box_yxyx, 0.0)}


def _say_empty(contents, name):
    """Returns whether a split has objects, and says how many of its images have none."""
    empty = int((contents.objects == 0).sum())
    if empty:
        print(f"{name}: {empty:,} of {contents.images:,} images contain no object and are left out (boxes in this split: "
              f"{contents.boxes:,}, crowds or difficult: {contents.ignored:,})", flush=True)
    return empty < contents.images
