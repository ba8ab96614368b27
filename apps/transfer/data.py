"""Images for two classification tasks: the source task with many images, and the target task with few."""
import dataclasses
import functools
import math
from typing import ClassVar

import numpy as np
import tensorflow as tf

from apps.transfer import backbone
from training import datasets as sets
from training.config import UserError
from training.data import pipelines
from training.data.spec import Splits, spec_of
from training.vision import labelled_images

_LEAST = 1000
"""images in an epoch: a smaller set is passed over several times"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Info(labelled_images.ImageInfo):
    """What a model needs to know about the images of both tasks, and how its backbone is rebuilt."""

    SAME: ClassVar = ("class_names", "source_class_names")

    mean: list[float] = dataclasses.field(default_factory=list)
    """mean of the source's training pixels, from 0 to 255; empty if the backbone does its own scaling"""
    std: list[float] = dataclasses.field(default_factory=list)
    """standard deviation of the source's training pixels, likewise"""
    source_class_names: list[str] = dataclasses.field(default_factory=list)
    """names of the source's class ids 0, 1, … in multi-task learning, otherwise empty"""
    backbone: dict | None = None
    """description of the backbone of an earlier run, see `apps.transfer.backbone.of_run`; None: not from a run"""


def datasets(config):
    """Returns the Splits of the target task; for multi_task, of both tasks.

    inputs:  "image" uint8 (batch, side, side, channels): fitted into the top left of the square, the rest is black
    targets: "label" int32 (batch,); for multi_task also "source_label", and -1 for the task to which an image does not belong.
             Each batch has equally many images of both tasks
    info:    Info with the class names of the target

    Raises:
        UserError: a data set is unknown, missing, too large for memory, or not a classification data set.
    """
    size, channels, run = backbone.facts(config)
    other, statistics = None, {}
    if config.has_source:
        other = _Task(config, _source(config), is_source=True, size=size, channels=channels)
        if channels is None:  # a new network, which must suit the source too
            channels, statistics = other.channels, other.statistics()
    target = _Task(config, config.dataset, size=size, channels=channels)
    facts = dict(class_names=target.class_names, **statistics, backbone=run)
    if config.model == "multi_task":
        return _both(config, target, other, facts)
    arrays = target.arrays("train", config.examples)
    batches = pipelines.gathered(arrays, _repeated(len(arrays[1]["label"]), config))
    return _splits(config, batches, target.arrays, target, Info(**facts))


def source(config):
    """Returns the Splits of the source task, for pretraining, with the same pixel statistics as `datasets`."""
    task = _Task(config, _source(config), is_source=True)
    batches = pipelines.in_memory(task.arrays("train"), config.batch_size, config.seed)
    return _splits(config, batches, task.arrays, task, Info(class_names=task.class_names, **task.statistics()))


def _source(config):
    """Returns the name of the source's data set; scratch has none of its own, and shares its task with the other systems."""
    return config.dataset if config.model == "scratch" else config.source or config.dataset


def _both(config, target, source, facts):
    def together(part, examples=None):
        (images, labels), (others, their_labels) = target.arrays(part, examples), source.arrays(part)
        return ({"image": np.concatenate([images["image"], others["image"]])},
                {"label": np.concatenate([labels["label"], np.full_like(their_labels["label"], -1)]),
                 "source_label": np.concatenate([np.full_like(labels["label"], -1), their_labels["label"]])})

    if config.batch_size % 2:
        raise UserError(f"--batch-size must be even for multi_task, got {config.batch_size}: each task fills half of a batch")
    arrays = together("train", config.examples)
    count = int((arrays[1]["label"] >= 0).sum())
    others = len(arrays[1]["label"]) - count
    half = dataclasses.replace(config, batch_size=config.batch_size // 2)
    longest = max(count, others)
    rows, their_rows = _repeated(count, half, longest), _repeated(others, half, longest)

    def in_turn(epoch):  # so that every replica has as many of both
        pairs = np.stack([rows(epoch), count + their_rows(epoch)], axis=-1)
        return pairs.reshape(len(pairs), -1)

    careful = source if source.found.prepared.name in sets.UPRIGHT else target  # in which task images must not be mirrored
    return _splits(config, pipelines.gathered(arrays, in_turn), together, careful,
                   Info(**facts, source_class_names=source.class_names))


def _splits(config, batches, arrays, augmented_as, info):
    """Returns the Splits of training batches, and of the arrays of a part, by its name, for validation and test."""
    if config.augment:
        batches = augmented_as.found.augmented(batches, config.seed)
    evaluated = (tf.data.Dataset.from_tensor_slices(arrays(part)).batch(config.batch_size) for part in ("validation", "test"))
    return Splits(batches, *evaluated, spec_of(batches(0, 0, tf.distribute.InputContext()), info))


def _repeated(count, config, length=0):
    """Returns epoch -> the places among `count` of each step's images, (steps, batch_size); all come about equally often.

    length: places in an epoch, of which what is no full batch falls away; at least as many as images, and 1,000
    """
    steps = pipelines.full_batches(max(count, length, _LEAST), config.batch_size)
    needed = steps * config.batch_size

    def rows(epoch):
        random = np.random.default_rng([config.seed, epoch])
        drawn = np.concatenate([random.permutation(count) for _ in range(math.ceil(needed / count))])
        return drawn[:needed].reshape(steps, config.batch_size)

    return rows


class _Task:
    """The images of one task, in memory.

    name:      of the data set
    is_source: whether it is the source's task, not the target's
    size:      side of the images; None: that of the settings, or what suits the target's set
    channels:  of the images; None: those of the data set
    """

    def __init__(self, config, name, *, is_source=False, size=None, channels=None):
        self.name, self.seed = name, config.seed
        size = size or config.image_size or _size(config.dataset)
        self.found = labelled_images.LabelledImages(dataclasses.replace(config, dataset=name, image_size=size))
        self.decoded = functools.cache(self.found.arrays)  # the source's training images are asked for twice
        self.channels = channels or self.found.channels
        names = self.found.class_names
        half = math.ceil(len(names) / 2)
        is_shared = config.has_source and _source(config) == config.dataset
        self.kept = range(len(names)) if not is_shared else range(half) if is_source else range(half, len(names))
        if len(self.kept) < 2:
            raise UserError(f"{name} has {len(names)} classes, too few for two tasks: choose another data set with --source")
        self.class_names = [names[number] for number in self.kept]

    def statistics(self):
        """Returns the mean and the standard deviation of the training pixels, by channel."""
        return labelled_images.statistics(self.arrays("train")[0]["image"])

    def arrays(self, part, examples=None):
        """Returns ({"image"}, {"label"}) of a part; per class, only the first `examples` in an order that depends on the seed.

        Raises:
            UserError: the part is too large for memory, or a class has fewer images.
        """
        if not self.found.fits(part):
            raise UserError(f"{self.name} does not fit in memory at this image size: choose a smaller --image-size")
        inputs, targets = self.decoded(part)
        random = np.random.default_rng(self.seed)
        counts = np.bincount(targets["label"], minlength=self.kept.stop)[self.kept.start:self.kept.stop]
        if examples and examples > counts.min():
            fewest = self.class_names[counts.argmin()]
            raise UserError(f"class {fewest} of {self.name} has {counts.min()} training images, fewer than --examples {examples}")
        rows = [random.permutation(np.flatnonzero(targets["label"] == number))[:examples] for number in self.kept]
        chosen = np.sort(np.concatenate(rows))
        images, labels = inputs["image"][chosen], targets["label"][chosen] - self.kept.start
        if images.shape[-1] < self.channels:
            images = images.repeat(self.channels, axis=-1)
        if images.shape[-1] > self.channels:
            images = np.concatenate([tf.image.rgb_to_grayscale(images[start:start + 1000]).numpy()
                                     for start in range(0, len(images), 1000)])
        return {"image": images}, {"label": labels.astype(np.int32)}


def _size(name):
    """Returns the side that suits a set's images."""
    plain = name.partition("/")[0]
    return 16 if plain == "digits" else 28 if plain in sets.GRAY else 32 if plain.startswith(("cifar", "svhn")) else 96
