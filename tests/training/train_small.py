"""python train_small.py FOLDER [JSON]: one training of a small model in a process of its own, for tests that kill it.

Writes FOLDER/final-<worker>.npz and FOLDER/history-<worker>.json when it is through; resumes what it finds in FOLDER.
"""
import json
import os
import pathlib
import signal
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from tests.training import small_models  # noqa: E402
from training import UserError  # noqa: E402
from training.data import pipelines  # noqa: E402
from training.engine import callbacks, loop, strategies, tensorboard  # noqa: E402


def main(folder, strategy="default", model="classifier", settings=None, epochs=4, examples=1000, validation=37,
         batch_size=32, checkpoint_every=10, steps_per_call=None, early_stopping=None, plateau=False, limit_steps=None,
         as_function=False, pause=0.0, terminate=None, by=signal.SIGTERM):
    """
    model:          "classifier", with `settings`, or "adversaries"
    validation:     examples, 0 for none; as_function: measured by a function on the host
    early_stopping: epochs of patience
    pause:          seconds of sleep before each call, for whoever wants to kill in time
    terminate:      step at which the second worker gets the signal `by`, as from a cluster that wants a machine back
    """
    folder.mkdir(exist_ok=True, parents=True)
    if strategy == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = strategies.make(strategy)
    chief = strategies.is_chief(strategy)
    keras.utils.set_random_seed(1)
    with strategy.scope():
        if model == "adversaries":
            model = small_models.adversaries()
        else:
            model = small_models.classifier(**settings or {})
    watchers = [callbacks.Progress(interval=1.0)]
    if validation:
        held_out = small_models.examples(validation, seed=5).batch(batch_size)
        if early_stopping:
            watchers.append(
                keras.callbacks.EarlyStopping("val_loss", patience=early_stopping, restore_best_weights=True))
        if plateau:
            watchers += [keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.97),
                         keras.callbacks.ReduceLROnPlateau(patience=2)]
        if chief:
            watchers.append(callbacks.BestWeights(folder / "best.weights.h5", "accuracy", "max"))
    if chief:
        watchers.append(tensorboard.TensorBoard(folder, histograms_every=0))
    if pause:
        watchers.append(keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: time.sleep(pause)))
    if terminate and not chief:
        watchers.append(keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: batch + 1 >= terminate and os.kill(os.getpid(), by)))
    if as_function:
        def validate():
            scores = model.predict_on_batch({"x": next(iter(held_out))[0]["x"]})
            return {"accuracy": float(np.mean(scores["label"])), "loss": float(np.mean(scores["label"] ** 2))}
    history = loop.fit(
        model, pipelines.shuffled(small_models.examples(examples), small_models.jitter, batch_size, seed=0),
        (validate if as_function else held_out) if validation else None, epochs=epochs, strategy=strategy,
        callbacks=watchers, steps_per_call=steps_per_call, checkpoints=folder / "checkpoints",
        checkpoint_every=checkpoint_every, limit_steps=limit_steps)
    worker = strategy.cluster_resolver.task_id if strategies.workers(strategy) > 1 else 0
    np.savez(folder / f"final-{worker}.npz", *small_models.variables(model))
    (folder / f"history-{worker}.json").write_text(json.dumps(history.history))


if __name__ == "__main__":
    try:
        main(pathlib.Path(sys.argv[1]), **json.loads(sys.argv[2]) if len(sys.argv) > 2 else {})
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
