"""Two tasks on images with one class each: the source's, of which there is much, and the target's, of which there is little."""
import dataclasses
import functools
import math

import numpy as np
import tensorflow as tf

from apps.transfer import trunks
from training import datasets as sets
from training.config import UserError
from training.data import pipelines
from training.data.spec import Splits, spec_of
from training.vision import labelled_images

_LEAST = 1000
"""images in an epoch: a smaller set is passed over several times"""


def datasets(config):
    """Returns the Splits of the target's task; for multi_task of both.

    inputs:  "image" uint8 (batch, side, side, channels): fitted into the square top left, the rest black
    targets: "label" int32 (batch,); for multi_task also "source_label", and -1 stands for the task an image is not of. Its
             batches have as many images of one task as of the other
    info:    "class_names"; for multi_task "source_class_names"; what `trunks.build` must know: "trunk" of a run, or "mean" and
             "deviation" of the source's training pixels by channel

    Raises:
        UserError: a data set is unknown, not there, too large for memory, or no classification set.
    """
    facts = trunks.facts(config)
    is_small, is_both = config.trunk == "small", config.model == "multi_task"
    other = _Task(config, True, facts) if is_small or is_both else None
    if is_small:
        facts = other.statistics()
    target = _Task(config, False, facts)
    if is_both:
        return _both(config, target, other)
    arrays = target.arrays("train", config.examples)
    return _splits(config, target, pipelines.gathered(arrays, _repeated(len(arrays[1]["label"]), config)), target.arrays)


def source(config):
    """Returns the Splits of the source's task, for pretraining; "mean" and "deviation" are as in `datasets`."""
    task = _Task(config, True, {})
    task.facts = task.statistics()
    return _splits(config, task, pipelines.in_memory(task.arrays("train"), config.batch_size, config.seed), task.arrays)


def _both(config, target, source):
    def together(part, examples=None):
        (images, labels), (others, their_labels) = target.arrays(part, examples), source.arrays(part)
        return ({"image": np.concatenate([images["image"], others["image"]])},
                {"label": np.concatenate([labels["label"], np.full_like(their_labels["label"], -1)]),
                 "source_label": np.concatenate([np.full_like(labels["label"], -1), their_labels["label"]])})

    if config.batch_size % 2:
        raise UserError(f"--batch-size must be even for multi_task, got {config.batch_size}: half of a batch is of each task")
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
    return _splits(config, target, pipelines.gathered(arrays, in_turn), together, careful, source_class_names=source.class_names)


def _splits(config, task, batches, arrays, augmented_as=None, **info):
    if config.augment:
        batches = (augmented_as or task).found.augmented(batches, config.seed)
    judged = (tf.data.Dataset.from_tensor_slices(arrays(part)).batch(config.batch_size) for part in ("validation", "test"))
    info = {"class_names": task.class_names, **task.facts, **info}
    return Splits(batches, *judged, spec_of(batches(0, 0, tf.distribute.InputContext()), info))


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

    facts: what the trunk prescribes: "image_size" and "channels", or nothing
    """

    def __init__(self, config, is_source, facts):
        self.name = config.source or config.dataset if is_source else config.dataset
        self.facts, self.seed = facts, config.seed
        size = facts.get("image_size") or config.image_size or _size(config.dataset)
        self.found = labelled_images.LabelledImages(dataclasses.replace(config, dataset=self.name, image_size=size))
        self.decoded = functools.cache(self.found.arrays)  # the source's training images are asked for twice
        self.channels = facts.get("channels") or self.found.channels
        names = self.found.class_names
        half = math.ceil(len(names) / 2)
        learns_source = config.trunk == "small" or config.model == "multi_task"
        self.kept = range(len(names)) if not learns_source or config.source not in (None, config.dataset) else \
            range(half) if is_source else range(half, len(names))
        if len(self.kept) < 2:
            raise UserError(f"{self.name} has {len(names)} classes, too few to make two tasks of: name another set with --source")
        self.class_names = [names[number] for number in self.kept]

    def statistics(self):
        """Returns what another task must share to be learnt on the same trunk."""
        image = self.arrays("train")[0]["image"]
        return {"image_size": image.shape[1], "channels": image.shape[-1], **labelled_images.statistics(image)}

    def arrays(self, part, examples=None):
        """Returns ({"image"}, {"label"}) of a part; of each class only the first `examples` in an order by the seed.

        Raises:
            UserError: the part is too large for memory, or a class has fewer images.
        """
        if not self.found.fits(part):
            raise UserError(f"{self.name} is too large for memory at this size: take a smaller --image-size")
        inputs, targets = self.decoded(part)
        random = np.random.default_rng(self.seed)
        counts = np.bincount(targets["label"], minlength=self.kept.stop)[self.kept.start:self.kept.stop]
        if examples and examples > counts.min():
            fewest = self.class_names[counts.argmin()]
            raise UserError(f"class {fewest} of {self.name} has {counts.min()} training images, not the {examples} asked for")
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
    return 16 if plain == "digits" else 28 if plain in sets.GREY else 32 if plain.startswith(("cifar", "svhn")) else 96
