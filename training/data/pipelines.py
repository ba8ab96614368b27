"""Batches whose order is a function of (seed, epoch)."""
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from training.config import UserError


class Share(NamedTuple):
    """One of several equal parts of the examples of a split, for a worker that reads only this part."""

    index: int
    """index of this part"""
    count: int
    """number of parts"""
    order: int
    """number of the epoch; the parts differ from epoch to epoch"""


def shuffled(examples, preprocess, batch_size, seed, buffer=10_000, cache=False, share=None):
    """Returns `batches(epoch, skip, context)`: the batches of one epoch for one replica, starting at step `skip`.

    examples:   dataset of known cardinality, always in the same order; must be cheap to skip, because resuming skips examples
    preprocess: (example, seed) -> (inputs, targets); `seed` (2,) is for `tf.random.stateless_*`, so augmentation is a function
                of (seed, epoch, position in the epoch) too
    batch_size: examples per step over all replicas; the remainder of an epoch is dropped
    buffer:     size of the shuffle buffer in examples; shuffling is uniform if all examples fit in
    cache: keep `examples` in memory
    share:      Share -> dataset of this share of the examples, for sets that are too large to be read by every worker: each
                worker then shuffles its own share. Which examples meet in a batch then depends on the number of workers.
                Without it, and with one worker, a step has the same examples on any number of workers.

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
    """Returns `batches(epoch, skip, context)` as `shuffled` does, for many small examples, see `gathered`.

    lengths: length of each example; a batch contains examples of similar lengths, and the batches are shuffled. Lengths are
             compared by powers of two, so the composition of the batches still changes from epoch to epoch.

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
    """Returns `batches(epoch, skip, context)` of examples in memory; a batch is gathered a hundred times faster than its
    examples one by one.

    arrays: nest of numpy arrays of one length
    rows:   epoch -> indices of the examples of each step over all replicas, integers (steps, batch_size)
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
    """Returns `batches(epoch, skip, context)` with function(inputs, targets, seed) applied to each batch.

    The function gets a whole batch of one replica, which is much faster than single examples; its `seed` (2,) is for
    `tf.random.stateless_*` and a function of (seed, epoch, step).
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
    """Returns the number of full batches in `count` examples.

    Raises:
        UserError: there is no full batch.
    """
    if count < batch_size:
        raise UserError(f"the training split has {count} examples, fewer than one batch of {batch_size}: "
                        "choose a smaller --batch-size")
    return count // batch_size


def evaluated(examples, element, batch_size, keep):
    """Returns batches of element(example) for validation or test, as `batched` does.

    element: example -> (inputs, targets)
    keep:    keep the results in memory
    """
    if not keep:
        return batched(examples, lambda example, seed: element(example), batch_size)
    results = examples.map(element, num_parallel_calls=tf.data.AUTOTUNE)
    return batched(results, lambda result, seed: result, batch_size, cache=True)


def batched(examples, preprocess, batch_size, cache=False):
    """Returns batches for validation or test, always in the same order and including the last partial batch.

    preprocess: (example, seed) -> (inputs, targets); the seed is the position of the example
    """
    if cache:
        examples = examples.cache()
    data = examples.enumerate().map(lambda index, example: preprocess(example, tf.stack([tf.zeros_like(index), index])),
                                    num_parallel_calls=tf.data.AUTOTUNE)
    return data.batch(batch_size).prefetch(tf.data.AUTOTUNE)
