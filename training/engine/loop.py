"""The training loop: one for every strategy and every Keras model, with exact resume."""
import contextlib
import functools
import math
import time

import keras
import numpy as np
import tensorflow as tf

from training.config import UserError
from training.engine import signals, strategies
from training.engine.checkpoint import Checkpoints

MOST_STEPS_PER_CALL = 64
SECONDS_PER_CALL = 1.0
LONG_VALIDATION_SECONDS = 10


def fit(model, train, validation=None, *, epochs, strategy=None, callbacks=(), steps_per_call=None, checkpoints=None,
        checkpoint_every=200, validate_every=1, limit_steps=None, xla=False):
    """Trains a compiled model, created in `strategy.scope()`, and returns its Keras History.

    train:            batches(epoch, skip, input_context) -> Dataset of one replica's full batches
                      (`training.data.pipelines.shuffled`)
    validation:       Dataset of global batches, of which the last may be smaller; or a function without arguments that returns
                      {name: float}. Both are logged as `val_<name>`.
    epochs:           passes over the training data, including those before a resume
    strategy:         a `tf.distribute.Strategy` (default: the current one)
    callbacks:        Keras callbacks
    steps_per_call:   training steps per compiled call, between which callbacks run and signals are checked; None: about one
                      second
    checkpoints:      folder to save checkpoints to and, if it contains any, to resume from
    checkpoint_every: steps between checkpoints within an epoch; there is always a checkpoint at the end of an epoch
    validate_every:   epochs between validations; the last epoch is always validated
    limit_steps:      train for at most this many steps in total, and validate on as many batches
    xla:              compile the training step with XLA; needs a single replica and static shapes

    A model with its own `train_step(data)` gets data = (inputs, targets), reports with `keras.metrics` and draws random
    numbers from a `keras.random.SeedGenerator`: only variables can be resumed. A model with several optimizers keeps them as
    attributes, builds them in `compile` and calls `super().compile(optimizer=None)`.
    Callbacks see each call as one batch: `on_train_batch_end(last step of the call, logs)`. Their `params` additionally
    contain `position` (epoch and step where this process starts), `total_steps`, `batch_size` and `chief`. A callback with
    state lists the attributes to save in a class attribute `STATE`; a method `close` is called however training ends. Pass
    callbacks that write files to the first worker only.

    Raises:
        UserError: the length of the data is unknown or not suitable for the strategy, the loss is not finite, or the
            checkpoints belong to another model.
        SystemExit: with code 143 after SIGTERM, after saving everything.
    """
    strategy = strategy or tf.distribute.get_strategy()
    whole = train(0, 0, tf.distribute.InputContext())
    steps, batch_size = _length(whole, "training data"), _batch_size(whole, strategy, xla)
    total = min(epochs * steps, limit_steps or math.inf)
    steps = min(steps, total)
    epochs = math.ceil(total / steps)
    optimizers = _build(model, whole.element_spec, strategy)
    train_call = _train_call(model, strategy, xla)
    validate = _validation(model, validation, strategy, limit_steps)
    average_statistics = _statistics_average(model, strategy)
    agree = _agreement(strategy)
    callbacks = keras.callbacks.CallbackList(list(callbacks), add_history=True, model=model)
    saved, position = None, None
    if checkpoints:
        facts = {"model": type(model).__name__, "steps_per_epoch": steps, "batch_size": batch_size}
        saved = Checkpoints(checkpoints, model, optimizers, callbacks.callbacks, strategy, facts)
        position = saved.load()
    first_epoch, step = position or (0, 0)
    if agree(first_epoch, -first_epoch, step, -step) != (first_epoch, -first_epoch, step, -step):
        raise UserError(f"the workers see different checkpoints: {checkpoints} must be on a file system that they share")
    callbacks.set_params({"epochs": epochs, "steps": steps, "verbose": 0, "position": (first_epoch, step),
                          "total_steps": total, "batch_size": batch_size, "chief": strategies.is_chief(strategy)})

    model.stop_training = False
    _separate_seeds(model, strategy)
    pace = _Pace(steps_per_call)
    validation_is_long = True  # until it is known

    def leave(signal_number, done):
        signals.leave(signal_number, f"stopped at step {done}; continue with --resume")

    def between_calls(epoch, step, save):
        """Runs between calls, with the same decision on all workers: saves, stops, or exits after a signal."""
        signal_number, stop, pace.count = agree(received.number, model.stop_training, pace.count)
        model.stop_training = bool(stop)
        if saved and (save or signal_number):
            saved.save(epoch, step)
        if signal_number:
            leave(signal_number, epoch * steps + step)

    with _lost_worker(strategy), signals.saving(wanted=saved is not None) as received, _closing(callbacks.callbacks):
        callbacks.on_train_begin()
        if position and not step:
            saved.restore()  # was saved after on_epoch_end
        for epoch in range(first_epoch, epochs):
            if model.stop_training:
                break
            end = min(steps, total - epoch * steps)
            callbacks.on_epoch_begin(epoch)
            if step:
                saved.restore()  # was saved within the epoch, after on_epoch_begin had done what it does
            else:
                model.reset_metrics()
            if step < end and not model.stop_training:
                iterator = iter(strategy.distribute_datasets_from_function(functools.partial(train, epoch, step)))
            while step < end and not model.stop_training:
                count = min(pace.count, end - step, checkpoint_every - step % checkpoint_every)
                callbacks.on_train_batch_begin(step)
                started = time.perf_counter()
                logs, bad_step = train_call(iterator, count, step)
                pace.note(count, time.perf_counter() - started)
                if bad_step is not None:
                    raise UserError(f"the loss is not finite at step {bad_step + 1} of epoch {epoch + 1}: restart with a "
                                    "lower --learning-rate or with --dtype float32" + (
                                        "; the last good checkpoint is kept" if saved and saved.latest else ""))
                step += count
                callbacks.on_train_batch_end(step - 1, logs)
                between_calls(epoch, step, save=step % checkpoint_every == 0 and step < end)
            is_validated = validate and ((epoch + 1) % validate_every == 0 or epoch + 1 == epochs)
            if saved and is_validated and validation_is_long:
                saved.save(epoch, step)  # so that a kill within it costs no training
            logs = _floats(model.get_metrics_result())
            average_statistics()
            if is_validated:
                callbacks.on_test_begin()
                started = time.perf_counter()
                values = validate()
                (validation_is_long,) = agree(time.perf_counter() - started > LONG_VALIDATION_SECONDS)
                callbacks.on_test_end(values)
                logs |= {f"val_{name}": value for name, value in values.items()}
            callbacks.on_epoch_end(epoch, logs)
            step = 0
            between_calls(epoch + 1, 0, save=True)
        if model.optimizer is not None:  # averaged weights, where the optimizer keeps them
            model.optimizer.finalize_variable_values(model.trainable_weights)
        callbacks.on_train_end()
        if received.number:
            leave(received.number, total)
    return model.history


def meet(strategy):
    """Waits until all workers have reached this point.

    strategy: a `tf.distribute.Strategy`

    Raises:
        UserError: another worker was lost.
    """
    with _lost_worker(strategy), signals.ending():
        _agreement(strategy)(0)


def _length(data, what):
    """Returns the number of batches in a Dataset."""
    length = int(data.cardinality())
    if length == tf.data.UNKNOWN_CARDINALITY:
        raise UserError(f"the {what} has an unknown number of batches: "
                        "set it with tf.data.experimental.assert_cardinality")
    if length == tf.data.INFINITE_CARDINALITY:
        raise UserError(f"the {what} is infinite: use Dataset.take to set the number of batches per epoch")
    if not length:
        raise UserError(f"the {what} has no full batch: choose a smaller --batch-size or use more examples")
    return length


def _batch_size(data, strategy, xla):
    specs = tf.nest.flatten(data.element_spec)
    size, replicas = specs[0].shape[0], strategy.num_replicas_in_sync
    if size is None:
        raise UserError("training batches need a fixed size: batch them with drop_remainder=True")
    if size % replicas:
        raise UserError(f"--batch-size {size} must be a multiple of the {replicas} replicas")
    if xla and replicas > 1:
        raise UserError(f"--xla works on one device only, not on {replicas} replicas: leave it out")
    unknown = [str(spec.shape) for spec in specs if not spec.shape.is_fully_defined()]
    if xla and unknown:
        raise UserError(f"--xla needs batches of a fixed shape, but these have {', '.join(unknown)}: leave it out")
    return size


def _build(model, spec, strategy):
    """Makes every variable before the first trace, because under a strategy none can be born in a step."""
    with strategy.scope():
        if model.optimizer is not None:
            model._symbolic_build(data_batch=spec)  # Keras has no public way to build metrics and optimizer
    found = [value for value in vars(model).values() if isinstance(value, keras.optimizers.Optimizer)]
    optimizers = list({id(optimizer): optimizer for optimizer in found}.values())
    unbuilt = [optimizer.name for optimizer in optimizers if not optimizer.built]
    if unbuilt:
        raise ValueError(f"build the optimizers {unbuilt} in the model's compile(), and call "
                         "super().compile(optimizer=None)")
    return optimizers


def _train_call(model, strategy, xla):
    """Returns call(iterator, count, first step) -> (metrics, the first step whose loss was not finite or None)."""
    train_step = tf.function(model.train_step, jit_compile=True) if xla else model.train_step

    def step(batch):
        logs = train_step(batch) or {}
        losses = [value for name, value in logs.items() if _is_loss(name)]
        return tf.reduce_all([tf.reduce_all(tf.math.is_finite(loss)) for loss in losses] or True)

    @tf.function
    def steps(iterator, count):
        good = tf.constant(0)  # steps before the first bad one
        all_good = tf.constant(True)
        for _ in tf.range(count):
            finite = strategy.experimental_local_results(strategy.run(step, args=(next(iterator),)))
            all_good = tf.logical_and(all_good, tf.reduce_all(finite))
            good += tf.cast(all_good, tf.int32)
        return model.get_metrics_result(), good

    def call(iterator, count, first):
        try:
            logs, good = steps(iterator, tf.constant(count))
        except (tf.errors.OutOfRangeError, tf.errors.FailedPreconditionError) as error:
            if isinstance(error, tf.errors.FailedPreconditionError) and "contained only" not in str(error):
                raise
            raise UserError(f"the training data ended within steps {first + 1} to {first + count}: "
                            "it has fewer batches than its cardinality states") from None
        logs = _floats(logs)
        if all(math.isfinite(value) for name, value in logs.items() if _is_loss(name)):
            return logs, None
        return logs, min(first + int(good), first + count - 1)  # another worker's loss may be the bad one

    return call


def _is_loss(name):
    return name == "loss" or name.endswith("_loss")


def _validation(model, validation, strategy, limit):
    """Returns a function that computes {name: float}, or None."""
    if validation is None:
        return None
    if not isinstance(validation, tf.data.Dataset):
        return lambda: _from_chief(validation(), strategy)
    if limit:
        validation = validation.take(limit)
    length = _length(validation, "validation data")
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    batches = strategy.experimental_distribute_dataset(validation.with_options(options))

    def step(batch):  # a replica may get no example of the last batch, and a mean over none is NaN
        def run():
            model.test_step(batch)
            return True
        return tf.cond(tf.shape(tf.nest.flatten(batch)[0])[0] > 0, run, lambda: False)

    @tf.function
    def steps(iterator, count):
        for _ in tf.range(count):
            strategy.run(step, args=(next(iterator),))
        return model.get_metrics_result()

    def validate():
        model.reset_metrics()
        iterator = iter(batches)
        for done in range(0, length, MOST_STEPS_PER_CALL):
            logs = steps(iterator, tf.constant(min(MOST_STEPS_PER_CALL, length - done)))
        return _floats(logs)

    return validate


def _agreement(strategy):
    """Returns agree(*numbers): the largest of each over all workers, so that all take the same turn."""
    if strategies.workers(strategy) == 1:
        return lambda *numbers: numbers

    @tf.function
    def largest(numbers):
        def own():
            return tf.distribute.get_replica_context().all_gather(numbers[None], axis=0)
        return tf.reduce_max(strategy.experimental_local_results(strategy.run(own))[0], axis=0)

    return lambda *numbers: tuple(largest(tf.constant([int(n) for n in numbers], tf.int64)).numpy().tolist())


def _from_chief(values, strategy):
    """Returns the first worker's metrics on all workers: a last digit must not part their ways."""
    values = {name: float(value) for name, value in values.items()}
    if strategies.workers(strategy) == 1:
        return values
    own = tf.constant(list(values.values()), tf.float64)

    @tf.function
    def first(numbers):
        return strategy.run(lambda: tf.distribute.get_replica_context().all_gather(numbers[None], axis=0))

    return dict(zip(values, strategy.experimental_local_results(first(own))[0][0].numpy().tolist()))


def _separate_seeds(model, strategy):
    """Gives each replica other random numbers: Keras's generators start equal, so dropout would mask all alike."""
    seeds = [v for v in model.variables if v.name == "seed_generator_state"]

    def separate():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        for seed in seeds:
            seed.assign(seed + tf.stack([tf.cast(replica, seed.value.dtype) * 0x9E3779B9, 0]))

    if strategy.num_replicas_in_sync > 1 and seeds:
        tf.function(lambda: strategy.run(separate))()


def _statistics_average(model, strategy):
    """Returns a function that makes moving statistics the mean over the replicas.

    Keras keeps each replica's own, and saves the first one's.
    """
    statistics = [v for v in model.non_trainable_weights if v.dtype.startswith(("float", "bfloat"))]

    def average():
        for variable, rows in zip(statistics, strategies.all_rows(statistics)):
            equal = tf.reduce_all(rows == rows[0], axis=0)  # frozen weights stay what they are, to the last digit
            variable.assign(tf.where(equal, rows[0], tf.reduce_mean(rows, axis=0)))

    if strategy.num_replicas_in_sync == 1 or not statistics:
        return lambda: None
    return tf.function(lambda: strategy.run(average))


class _Pace:
    """Chooses how many steps a call takes: about a second's worth."""

    def __init__(self, fixed):
        self.fixed, self.count, self.calls = fixed, fixed or 1, 0

    def note(self, count, seconds):
        self.calls += 1
        if not self.fixed and self.calls > 1:  # the first call also traces
            self.count = max(1, min(MOST_STEPS_PER_CALL, int(SECONDS_PER_CALL * count / max(seconds, 1e-9))))


@contextlib.contextmanager
def _lost_worker(strategy):
    """Says in a sentence that another worker died; without it all others end with TensorFlow's long report."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError,
            tf.errors.CancelledError):
        if strategies.workers(strategy) == 1:
            raise
        raise UserError("the connection to another worker was lost: restart all workers with --resume") from None


@contextlib.contextmanager
def _closing(callbacks):
    try:
        yield
    finally:
        for callback in callbacks:
            if hasattr(callback, "close"):
                callback.close()


def _floats(logs):
    return {name: float(np.asarray(value)) for name, value in logs.items()}
