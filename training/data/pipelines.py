"""Batches whose order is a function of (seed, epoch)."""
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from training.config import UserError


class Share(NamedTuple):
    """One of several equal parts of a split's examples, for a worker that reads no other."""

    index: int
    """of this part"""
    count: int
    """of all parts"""
    order: int
    """a number that stands for the epoch: each has other parts"""


def shuffled(examples, preprocess, batch_size, seed, buffer=10_000, cache=False, share=None):
    """Returns `batches(epoch, skip, context)`: one epoch from step `skip` on, as batches for one replica.

    examples: dataset of known cardinality, always in the same order; cheap to pass over, because resuming skips in it
    preprocess: (example, seed) -> (inputs, targets); `seed` (2,) is for `tf.random.stateless_*`, so that augmentation
        is a function of (seed, epoch, place in the epoch) too
    batch_size: examples per step over all replicas; the remainder of an epoch is dropped
    buffer: examples to draw from when shuffling; the order is uniform when all fit in
    cache: keep `examples` in memory
    share: Share -> dataset of these of the examples, for sets that are too large to be passed over by every worker: each of
        several workers shuffles its own share. Which examples meet in a batch then depends on the number of workers. Without
        it, and with one worker, a step has the same examples on any number of workers.

    Raises:
        UserError: there are fewer examples than one batch takes.
    """
    count = int(examples.cardinality())
    if count < 0:
        raise ValueError("the examples have no known cardinality: use Dataset.apply(tf.data.experimental.assert_cardinality(n))")
    steps = full_batches(count, batch_size)
    if cache:
        # all of them go through the buffer, or the dropped remainder would leave the cache unfinished for ever
        examples, buffer, share = examples.cache(), count, None
    preprocess = tf.function(preprocess)  # traced once, not for every epoch

    def batches(epoch, skip, context):
        order = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
        workers, worker = context.num_input_pipelines, context.input_pipeline_id
        shares = workers if share else 1
        data = share(Share(worker, workers, order)) if shares > 1 else examples
        data = data.shuffle(min(buffer, count), seed=order, reshuffle_each_iteration=False).enumerate()
        data = data.take(steps * batch_size // shares)  # before sharding: each worker must see as many batches as the others
        data = data.skip(skip * batch_size // shares)
        if shares == 1:
            data = data.shard(workers, worker)

        def prepared(index, example):
            place = index * shares + worker % shares  # in the epoch: no other example of any worker has it
            return preprocess(example, tf.stack([tf.cast(order, tf.int64), place]))

        data = data.map(prepared, num_parallel_calls=tf.data.AUTOTUNE)
        return data.batch(context.get_per_replica_batch_size(batch_size), drop_remainder=True).prefetch(tf.data.AUTOTUNE)

    return batches


def in_memory(arrays, batch_size, seed, lengths=None):
    """Returns `batches(epoch, skip, context)` as `shuffled` does, of examples that are small and many, see `gathered`.

    lengths: of the examples; those of like lengths come in one batch, and the batches in any order. Likeness is in
        powers of two, so that what shares a batch with an example still changes from epoch to epoch.

    Raises:
        UserError: there are fewer examples than one batch takes.
    """
    count = len(tf.nest.flatten(arrays)[0])
    steps = full_batches(count, batch_size)

    def rows(epoch):
        random = np.random.default_rng([seed, epoch])
        order = random.permutation(count)
        if lengths is None:
            return order[:steps * batch_size].reshape(steps, batch_size)
        order = order[np.argsort(np.ceil(np.log2(np.maximum(lengths, 1)))[order], kind="stable")]
        start = random.integers(0, count - steps * batch_size + 1)  # the remainder is not always of the longest
        return random.permutation(order[start:start + steps * batch_size].reshape(steps, batch_size))

    return gathered(arrays, rows)


def gathered(arrays, rows):
    """Returns `batches(epoch, skip, context)` of examples in memory; a batch costs a hundredth of what single examples cost.

    arrays: nest of numpy arrays of one length
    rows:   epoch -> the places of each step's examples over all replicas, whole numbers (steps, batch_size)
    """
    arrays = tf.nest.map_structure(tf.constant, arrays)

    def batches(epoch, skip, context):
        order = rows(epoch)
        size = context.get_per_replica_batch_size(order.shape[1])
        order = order.reshape(len(order), -1, size)[skip:, context.input_pipeline_id::context.num_input_pipelines]
        data = tf.data.Dataset.from_tensor_slices(order.reshape(-1, size).astype(np.int32))
        return data.map(lambda places: tf.nest.map_structure(lambda array: tf.gather(array, places), arrays),
                        num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    return batches


def augmented(batches, function, seed):
    """Returns `batches(epoch, skip, context)` whose inputs and targets went through function(inputs, targets, seed).

    It gets a whole batch of one replica at a time, which costs a fraction of what single examples cost; its `seed` (2,) is
    for `tf.random.stateless_*` and a function of (seed, epoch, step).
    """
    function = tf.function(function)

    def changed(epoch, skip, context):
        order = np.random.SeedSequence([seed, epoch, context.input_pipeline_id, 1]).generate_state(1)[0]  # not that of the order
        first = skip * context.num_replicas_in_sync // context.num_input_pipelines
        data = batches(epoch, skip, context).enumerate(first)
        return data.map(lambda step, batch: function(*batch, tf.stack([tf.constant(int(order), tf.int64), step])),
                        num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    return changed


def full_batches(count, batch_size):
    """Returns how many full batches so many examples make.

    Raises:
        UserError: not one.
    """
    if count < batch_size:
        raise UserError(f"the training split has {count} examples, fewer than one batch of {batch_size}: "
                        "choose a smaller --batch-size")
    return count // batch_size


def batched(examples, preprocess, batch_size, cache=False):
    """Returns batches for validation or test, always in the same order, the remainder kept.

    preprocess: (example, seed) -> (inputs, targets); the seed is the place of the example
    """
    if cache:
        examples = examples.cache()
    data = examples.enumerate().map(lambda index, example: preprocess(example, tf.stack([tf.zeros_like(index), index])),
                                    num_parallel_calls=tf.data.AUTOTUNE)
    return data.batch(batch_size).prefetch(tf.data.AUTOTUNE)
