"""Overhead of the training loop compared with a bare compiled train_step of about 10 ms, and with Keras's fit for a small
step.

    python benchmarks/loop.py
"""
import os
import pathlib
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as `training` does, but before TensorFlow is imported here
import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

from training.engine import loop  # noqa: E402

BATCH, ROUNDS = 128, 25
LARGE, SMALL = (512, 8, 100), (32, 1, 1000)
"""units, hidden layers, steps per round"""
INTERVAL = 8  # the 8th lowest and 8th highest of 25 hold their median 19 times of 20


class Clock(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self.began)


def model(units, depth):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(units, "relu") for _ in range(depth)]
    made = keras.Sequential([keras.Input((units,)), *layers, keras.layers.Dense(units)])
    made.compile(keras.optimizers.SGD(1e-3), "mse")
    return made


def examples(units):
    """Returns eight batches, repeated without end."""
    batches = tf.data.Dataset.range(8).map(lambda index: tf.random.stateless_normal((BATCH, units), tf.stack([index, 1])))
    return batches.map(lambda x: (x, x)).cache().repeat()


def bare(units, depth, steps):
    """Returns a function that runs compiled steps one by one and returns the seconds per step."""
    made = model(units, depth)
    iterator = iter(examples(units).prefetch(4))
    made._symbolic_build(data_batch=next(iterator))
    step = tf.function(made.train_step)
    step(next(iterator))

    def run():
        began = time.perf_counter()
        for _ in range(steps):
            logs = step(next(iterator))
        float(logs["loss"])
        return (time.perf_counter() - began) / steps

    return run


def ours(units, depth, steps):
    made, clock, data = model(units, depth), Clock(), examples(units)

    def batches(epoch, skip, context):
        left = steps - skip
        return data.take(left).prefetch(4).apply(tf.data.experimental.assert_cardinality(left))

    def run():
        loop.fit(made, batches, epochs=2, callbacks=[clock])
        return clock.seconds[-1] / steps

    return run


def keras_fit(units, depth, steps):
    made, clock, data = model(units, depth), Clock(), examples(units).prefetch(4)

    def run():
        made.fit(data, epochs=2, steps_per_epoch=steps, callbacks=[clock], verbose=0)
        return clock.seconds[-1] / steps

    return run


def compare(name, sides):
    """Prints the median ratio of the rounds with its 95 % interval by the sign test."""
    seconds = {side: [] for side in sides}
    for run in sides.values():
        run()
    for number in range(ROUNDS):
        for side in sorted(sides, reverse=number % 2):  # each goes first in turn
            seconds[side].append(sides[side]())
    ratios = sorted(a / b for a, b in zip(*(seconds[side] for side in sides)))
    per_step = ", ".join(f"{side} {statistics.median(values) * 1e3:.2f} ms" for side, values in seconds.items())
    low, high = ratios[INTERVAL - 1], ratios[-INTERVAL]
    print(f"{name}: {per_step}; ratio {statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    compare("a step", {"in the loop": ours(*LARGE), "bare": bare(*LARGE)})
    compare("a small step", {"in the loop": ours(*SMALL), "in Keras's fit": keras_fit(*SMALL)})
