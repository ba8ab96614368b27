"""Images fitted into a square, with padded boxes, from any detection data set of TFDS or this project."""
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from training.config import UserError
from training.data import pipelines, sources
from training.data.spec import Info, Splits, spec_of
from training.vision import images
from training.vision.detection import augmentation, masks, region_cache, ssd_augmentation
from training.vision.detection.settings import MAX_DETECTIONS, OutsideRegions

LARGEST_CACHE = 2 ** 30
"""bytes of decoded pixels that are kept in memory, per split"""
BUFFER = 2_000
"""encoded photographs to shuffle among: some hundred megabytes"""


def datasets(config):
    """Returns the Splits of a detection data set, see `splits`."""
    return splits(config)


def splits(config, with_masks=False):
    """Returns the Splits of a detection data set, on request with instance masks.

    inputs:  "image" uint8 (batch, image_size, image_size, 3), RGB: fitted into the top left of the square, the rest is black
    targets: "boxes_yxyx" float32 (batch, max_objects, 4) in pixels of the square; "class_ids" int32 and "ignore" bool
             (batch, max_objects); entries without an object are zeros, -1 and False. `ignore`: crowd or difficult, cut off by
             the augmentation, or beyond max_objects: neither object nor background in training. If a training image has more
             than max_objects objects, the second dimension is the largest number of boxes.
             Validation and test also have "is_crowd", "is_difficult" bool (batch, max_objects), "image_id" int64,
             "scale" float32 (square / original), "height" and "width" int32 (batch,) of the original; there max_objects is the
             largest number in the split, so no object is lost.
             With masks, train also has "masks" uint8 (batch, max_objects, 56, 56), 0 to 255, and "mask_frames_yxyx" float32
             (batch, max_objects, 4), the rectangle that each mask fills, which may extend beyond the square; 0 for an object
             without a mask. Validation and test have "masks" string and "mask_corners" int32 (batch, max_objects, 2), the exact
             masks as files, see `training.vision.detection.masks`.

    With `OutsideRegions`, the inputs also have "regions_yxyx" float32 (batch, regions, 4) in pixels of the square, the best
    ones first; zeros where there are fewer. The augmentation moves them as it moves the boxes.

    Prints one line for each split with an image that has too many objects, or without any object to evaluate on. A validation
    split without objects is None, because it would always choose the first epoch.

    Raises:
        UserError: the data set is unknown, missing, empty, not a detection data set, or has no objects or masks to learn.
    """
    prepared = sources.builder(config.dataset, config)
    class_names = class_names_of(prepared)
    parts = sources.parts(prepared)
    if config.augment and config.augmentation != "scale" and (with_masks or isinstance(config, OutsideRegions)):
        raise UserError(f"--augmentation {config.augmentation} moves boxes only, neither masks nor regions from outside of the "
                        "network: use --augmentation scale")
    if with_masks:
        _check_masks(prepared, parts, config)
    regions = region_cache.of_split(prepared, parts["train"], config)
    train = examples_of(prepared, parts["train"], with_masks=with_masks, regions=regions)
    room = _room(Contents(prepared, parts["train"], config), config)
    fits = fits_in_memory(examples_of(prepared, parts["train"], with_masks=with_masks), prepared)
    recipe = augmentation.RECIPES.get(prepared.name, augmentation.PHOTOGRAPHS) if config.augment else None
    if fits:
        train = train.map(lambda example: _with_small_masks(decoded(prepared, example)), num_parallel_calls=tf.data.AUTOTUNE)

    def for_training(example, seed):
        return _train_element(_with_small_masks(decoded(prepared, example)), seed, config, recipe, room)

    batches = pipelines.shuffled(train, for_training, config.batch_size, config.seed, buffer=BUFFER, cache=fits,
                                 share=lambda share: examples_of(prepared, parts["train"], share, with_masks, regions))
    spec = spec_of(batches(0, 0, tf.distribute.InputContext()), Info(class_names=class_names))

    def train_batches(epoch, skip, context):
        if regions:
            regions.prepare()  # not for a test of a finished run, which does not read this split
        return batches(epoch, skip, context)

    evaluated = (_evaluation_batches(prepared, part, parts[part], config, with_masks) for part in ("validation", "test"))
    return Splits(train_batches, *evaluated, spec)


class Contents:
    """Counts of the images and boxes of a split.

    Attributes:
        images, boxes, ignored, small: how many there are; ignored: crowds and difficult objects; small: boxes with a side below
            one pixel of the square
        objects:    of each image, how many boxes are objects to be found, (images,)
        learnable:  objects that are not small
        most_boxes: greatest number of boxes in an image, at least 1
    """

    def __init__(self, prepared, split, config):
        kinds = {"bbox", "label", "is_crowd", "is_difficult"} & set(prepared.info.features["objects"].feature)
        examples = sources.read(prepared, split, decoders=tfds.decode.PartialDecoding({"objects": kinds}))

        def count(example):
            objects = example["objects"]
            boxes_yxyx = tf.clip_by_value(objects["bbox"], 0.0, 1.0)
            sides = tf.reduce_min(boxes_yxyx[:, 2:] - boxes_yxyx[:, :2], axis=1)
            none = tf.zeros(tf.shape(sides), tf.bool)
            is_object = ~(objects.get("is_crowd", none) | objects.get("is_difficult", none))
            # the longer side of an image becomes image_size, so that the shorter sides of its boxes are at most this long
            is_large = sides * config.image_size >= 1
            masks = [~none, ~is_object, ~is_large, is_object & (sides > 0), is_object & is_large]
            return tf.stack([tf.math.count_nonzero(mask, dtype=tf.int32) for mask in masks])

        counts = np.concatenate(list(examples.map(count, tf.data.AUTOTUNE).batch(1000).as_numpy_iterator()))
        self.images, self.objects, self.most_boxes = len(counts), counts[:, 3], max(1, int(counts[:, 0].max()))
        self.boxes, self.ignored, self.small, _, self.learnable = counts.sum(axis=0).tolist()


def _room(contents, config):
    """Returns how many boxes an image of the training split has room for; prints a line if some images have too many objects.

    Raises:
        UserError: there is nothing to learn.
    """
    check_learnable(contents, config)
    crowded = _say_crowded(contents, config.max_objects, f"{config.dataset}, train", f"--max-objects {config.max_objects}",
                           "the excess objects are ignored in training, neither objects nor background")
    return max(config.max_objects, contents.most_boxes) if crowded else config.max_objects


def check_learnable(contents, config):
    """Checks that a training split, of which these are the `Contents`, has an object to learn.

    Raises:
        UserError: there is nothing to learn.
    """
    if not contents.learnable:
        raise UserError(
            f"the training split of {config.dataset} contains no objects to learn (images: {contents.images:,}, boxes: "
            f"{contents.boxes:,}, crowds or difficult: {contents.ignored:,}, with a side below one pixel at --image-size "
            f"{config.image_size}: {contents.small:,}): check its annotations, whose boxes must be in pixels")


def _say_crowded(contents, limit, name, words, consequence):
    """Prints one line if images have more objects than `limit`; returns whether."""
    count = int((contents.objects > limit).sum())
    if count:
        print(f"{name}: {count:,} image{'s have' if count > 1 else ' has'} more objects than {words} "
              f"(the most: {contents.objects.max():,}); {consequence}", flush=True)
    return count > 0


def _evaluation_batches(prepared, part, split, config, with_masks):
    """Returns the batches of a part to evaluate on, "validation" or "test"; None for a validation that can choose nothing."""
    regions = region_cache.of_split(prepared, split, config)
    if regions:
        regions.prepare()
    examples = examples_of(prepared, split, with_masks=with_masks, regions=regions)
    contents = Contents(prepared, split, config)
    most = contents.most_boxes
    if not contents.objects.any():
        consequence = "the last weights are kept" if part == "validation" else "its metrics are meaningless"
        print(f"{config.dataset}, {part}: this split contains no objects, so {consequence} (images: {contents.images:,}, boxes: "
              f"{contents.boxes:,}, crowds or difficult: {contents.ignored:,})", flush=True)
        if part == "validation":
            return None
    _say_crowded(contents, MAX_DETECTIONS, f"{config.dataset}, {part}", f"the limit of {MAX_DETECTIONS} detections",
                 "the excess objects cannot be found")
    is_small = int(examples.cardinality()) * config.image_size ** 2 * 3 <= LARGEST_CACHE
    return pipelines.evaluated(
        examples, lambda example: _evaluation_element(decoded(prepared, example), config, most), config.batch_size, is_small)


def class_names_of(prepared):
    """Returns the names of the classes of a data set.

    Raises:
        UserError: it is not a detection data set.
    """
    features = prepared.info.features
    if "objects" not in features or not {"bbox", "label"} <= set(features["objects"].feature):
        raise UserError(f"{prepared.name} is not a detection data set: its examples have no objects with boxes and labels")
    return features["objects"].feature["label"].names


def _check_masks(prepared, parts, config):
    """Prints one line for each part with objects that have no mask.

    Raises:
        UserError: no object of the training split has one.
    """
    features = prepared.info.features
    if "instances" not in features and "mask" not in features["objects"].feature:
        raise UserError(f"{config.dataset} has no instance masks: choose a data set with masks, or detect boxes with "
                        "`python -m apps.detection`")
    if "instances" in features:
        return
    for part, split in parts.items():
        examples = sources.read(prepared, split, decoders=tfds.decode.PartialDecoding({"objects": {"mask"}}))
        lengths = examples.map(lambda example: tf.strings.length(example["objects"]["mask"]), tf.data.AUTOTUNE)
        has_mask = np.concatenate(list(lengths.as_numpy_iterator())) > 0
        if part == "train" and has_mask.size and not has_mask.any():
            raise UserError(f"no object in the training split of {config.dataset} has an instance mask: add segmentations to its "
                            "annotations, or detect boxes with `python -m apps.detection`")
        if not has_mask.all():
            print(f"{config.dataset}, {part}: {(~has_mask).sum():,} of {len(has_mask):,} objects have no mask; "
                  + ("they teach boxes and classes only" if part == "train" else "the mask metrics ignore them"), flush=True)


def examples_of(prepared, split, share=None, with_masks=False, regions=None):
    """Returns {image: bytes, image_id, boxes (objects, 4) 0..1, class_ids, is_crowd, is_difficult} of every example, with masks
    also {mask_files, mask_corners}, see `masks.stored`.

    regions: the `region_cache.KeptRegions`, which give each example its "regions_yxyx"; or None
    """
    examples = sources.read(prepared, split, share, decoders={"image": tfds.decode.SkipDecoding()})
    examples = examples.enumerate()
    examples = examples.map(lambda index, example: _with_one_vocabulary(index, example, with_masks), tf.data.AUTOTUNE)
    if regions is None:
        return examples
    return examples.map(lambda example: example | {"regions_yxyx": regions(example["image"])}, tf.data.AUTOTUNE)


def _with_one_vocabulary(index, example, with_masks):
    objects = example["objects"]
    none = tf.zeros(tf.shape(objects["label"]), tf.bool)
    stored = dict(zip(("mask_files", "mask_corners"), masks.stored(example))) if with_masks else {}
    return stored | {
        "image": example["image"],
        "image_id": example.get("image/id", index),
        "boxes": objects["bbox"],
        "class_ids": tf.cast(objects["label"], tf.int32),
        "is_crowd": objects.get("is_crowd", none),
        "is_difficult": objects.get("is_difficult", none),
    }


def decoded(prepared, example):
    """Returns the example with the decoded image in place of the encoded one; a decoded image stays as it is."""
    if example["image"].dtype != tf.string:
        return example
    image = prepared.info.features["image"].decode_example(example["image"])
    return example | {"image": tf.ensure_shape(image, [None, None, 3])}


def _with_small_masks(example):
    """Returns the example with small masks in place of the files, if it has masks, and nothing done if it has them already."""
    if "mask_files" not in example:
        return example
    small = masks.small(example["mask_files"], example["mask_corners"])
    others = {name: value for name, value in example.items() if name not in ("mask_files", "mask_corners")}
    return others | {"masks": small.pixels, "mask_frames_yxyx": small.frames_yxyx}


def fits_in_memory(examples, prepared):
    """Tells whether the decoded pixels of all examples fit, by the size of a few."""
    def size(example):
        pixels = tf.size(decoded(prepared, example)["image"], out_type=tf.int64)
        is_masked = "mask_files" in example
        return pixels + tf.size(example["mask_files"], out_type=tf.int64) * masks.SIDE ** 2 if is_masked else pixels

    few = examples.take(8).map(size)
    sizes = list(few.as_numpy_iterator())
    return sum(sizes) / len(sizes) * int(examples.cardinality()) <= LARGEST_CACHE


def boxes_in_pixels(example):
    """Returns (boxes_yxyx, is_box) of an example with a decoded image.

    boxes_yxyx: (objects, 4) float32, in pixels of the image and clipped to it
    is_box:     (objects,) bool, whether the box has an area; a box without one is zeros
    """
    sides = tf.cast(tf.shape(example["image"])[:2], tf.float32)
    boxes_yxyx = tf.clip_by_value(example["boxes"], 0.0, 1.0) * tf.tile(sides, [2])
    # sets of others may hold empty boxes or no numbers at all
    is_box = tf.reduce_all(boxes_yxyx[:, 2:] > boxes_yxyx[:, :2], axis=1)
    return tf.where(is_box[:, None], boxes_yxyx, 0.0), is_box


def _regions_in_pixels(example, config):
    """Returns the regions in pixels of the example's own image, (regions, 4); none without regions."""
    regions = _regions(example, config)
    if not regions:
        return tf.zeros((0, 4))
    return regions["regions_yxyx"] * tf.cast(tf.reduce_max(tf.shape(example["image"])) / config.image_size, tf.float32)


def _regions(example, config):
    """Returns {"regions_yxyx": (regions, 4)} in pixels of the square, kept or searched now; {} for a system without regions."""
    if not isinstance(config, OutsideRegions):
        return {}
    kept = example.get("regions_yxyx")
    if kept is None:
        kept = region_cache.of_image(fitted(example["image"], config.image_size)[0], config)
    return {"regions_yxyx": kept}


def _train_element(example, seed, config, recipe, room):
    image_size = config.image_size
    boxes_yxyx, is_box = boxes_in_pixels(example)
    masked = {name: example[name] for name in ("masks", "mask_frames_yxyx") if name in example}
    regions = {}
    ignore = example["is_crowd"] | example["is_difficult"]
    if recipe:
        augment = {"scale": augmentation.augment, "ssd": ssd_augmentation.augment}[config.augmentation]
        image, moved, seen = augment(
            example["image"], tf.concat([boxes_yxyx, _regions_in_pixels(example, config)], axis=0), image_size, seed, recipe)
        count = tf.shape(boxes_yxyx)[0]
        if isinstance(config, OutsideRegions):
            is_seen = seen[count:, tf.newaxis] > 0
            regions["regions_yxyx"] = tf.ensure_shape(tf.where(is_seen, moved[count:], 0.0), (config.regions, 4))
        boxes_yxyx, seen = moved[:count], seen[:count]
        ignore |= seen < recipe.least_seen
        if masked:
            moved = augmentation.augment_masks(*masked.values(), tf.shape(example["image"])[:2], image_size, seed, recipe)
            masked = dict(zip(masked, moved))
        is_box &= (seen >= 0.1) & tf.reduce_all(boxes_yxyx[:, 2:] - boxes_yxyx[:, :2] >= 1, axis=1)
    else:
        image, scale = fitted(example["image"], image_size)
        boxes_yxyx *= scale
        if masked:
            masked["mask_frames_yxyx"] *= scale
        regions = _regions(example, config)
    # objects first, then what is ignored: if some must go, those do
    order = tf.argsort(tf.where(is_box, tf.cast(ignore, tf.int32), 2), stable=True)[:room]
    order = order[:tf.reduce_sum(tf.cast(is_box, tf.int32))]
    is_beyond = tf.range(tf.size(order)) >= config.max_objects
    return {"image": image} | regions, {
        "boxes_yxyx": _padded(tf.gather(boxes_yxyx, order), room),
        "class_ids": _padded(tf.gather(example["class_ids"], order), room, -1),
        "ignore": _padded(tf.gather(ignore, order) | is_beyond, room),
        **{name: _padded(tf.gather(values, order), room) for name, values in masked.items()},
    }


def _evaluation_element(example, config, max_objects):
    boxes_yxyx, is_box = boxes_in_pixels(example)
    image, scale = fitted(example["image"], config.image_size)
    height, width = tf.unstack(tf.shape(example["image"])[:2])

    def kept(values, fill=0):
        return _padded(tf.boolean_mask(values, is_box), max_objects, fill)

    masked = {"masks": kept(example["mask_files"]), "mask_corners": kept(example["mask_corners"])} \
        if "mask_files" in example else {}
    return {"image": image} | _regions(example, config), {
        "boxes_yxyx": kept(boxes_yxyx * scale),
        "class_ids": kept(example["class_ids"], -1),
        "ignore": kept(example["is_crowd"] | example["is_difficult"]),
        "is_crowd": kept(example["is_crowd"]),
        "is_difficult": kept(example["is_difficult"]),
        "image_id": tf.cast(example["image_id"], tf.int64),
        "scale": scale,
        "height": height,
        "width": width,
        **masked,
    }


def fitted(image, image_size):
    """Returns (image fitted into the top left of a square, uint8; scale, square / original)."""
    fitted, scale = images.fit_square(image, image_size)
    return tf.cast(tf.round(fitted), tf.uint8), scale


def _padded(values, count, fill=0):
    """Returns `values` with `count` rows."""
    missing = count - tf.shape(values)[0]
    filling = tf.constant(fill, values.dtype) if fill else tf.zeros((), values.dtype)  # also of texts
    padding = tf.fill(tf.concat([[missing], tf.shape(values)[1:]], axis=0), filling)
    padded = tf.concat([values, padding], axis=0)
    return tf.ensure_shape(padded, [count, *values.shape[1:]])
