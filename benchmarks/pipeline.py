"""Cost of the input pipeline: alternating epochs over augmented images and over a single repeated batch.

    python benchmarks/pipeline.py detection|classification
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

from training.app import App  # noqa: E402
from training.engine import loop, strategies  # noqa: E402

STEPS, ROUNDS = 50, 7
FLAGS = {"detection": {}, "classification": {"augment": True, "erase": 0.25}}


class Clock(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds[epoch % 2].append(time.perf_counter() - self.began)

    seconds = [], []


def main(task):
    app = App(task)
    config = app.config(**FLAGS[task])
    strategies.set_precision(config)
    splits = app.data.datasets(config)
    model = app.build_model(config, splits.spec, steps=2 * STEPS * ROUNDS)
    one = next(iter(splits.train(0, 0, tf.distribute.InputContext())))

    def batches(epoch, skip, context):
        """Odd epochs repeat a single batch, which costs nothing to produce."""
        data = tf.data.Dataset.from_tensors(one) if epoch % 2 else splits.train(epoch, 0, context)
        return data.repeat().take(STEPS).skip(skip).apply(tf.data.experimental.assert_cardinality(STEPS - skip))

    clock = Clock()
    loop.fit(model, batches, epochs=2 * ROUNDS + 2, callbacks=[clock])
    real, free = (seconds[1:] for seconds in clock.seconds)  # the first ones trace and fill caches
    ratios = sorted(a / b for a, b in zip(real, free))
    with_pipeline, without = (statistics.median(seconds) / STEPS * 1e3 for seconds in (real, free))
    print(f"{task}: {with_pipeline:.1f} ms a step with the pipeline, {without:.1f} without; "
          f"{statistics.median(ratios):.3f} of the time ({ratios[0]:.3f} to {ratios[-1]:.3f}, {len(ratios)} rounds)")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 and sys.argv[1] in FLAGS else sys.exit(f"choose one of {', '.join(FLAGS)}"))
