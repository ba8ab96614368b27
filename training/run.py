"""The workflow of every application: train, test, export and render pictures; and evaluate or load a finished run."""
import contextlib
import dataclasses
import importlib.metadata
import json
import pathlib
import platform
import shutil
import sys
import time
import warnings
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from training import config as settings
from training import initial_backbone, initial_runs, runs, showing
from training.app import App
from training.data import sources
from training.data.spec import Spec, difference, load_spec, renumbered, save_spec
from training.engine import callbacks, files, loop, signals, strategies, tensorboard
from training.errors import UserError, first_line
from training.serving import answers, export


def train(app, config):
    """Trains and tests a system, writes the results and the export, and renders pictures; returns the results."""
    folder, config = runs.unfinished(app.task, config) if config.resume else (runs.new(app.task, config), config)
    if not config.force:
        export.check_tensorflow()  # before the training, not after it
    export.check_folder(pathlib.Path(config.saved_models) / app.export_name(config))
    strategy = strategies.make(config.strategy)  # the run's own, where it is resumed
    chief = strategies.is_chief(strategy)
    is_named_by_time = config.name is None and not config.resume
    is_new = chief and (is_named_by_time or not folder.exists())
    if chief and is_named_by_time:
        folder = files.new_folder(folder)  # another run may have begun in the same second
    elif chief:
        folder.mkdir(parents=True, exist_ok=True)
    with files.lock(folder) if chief else contextlib.nullcontext(), signals.leaving("stopped; continue with --resume"):
        if chief:
            if runs.read(folder).is_complete or (not config.resume and (folder / "config.json").exists()):
                raise UserError(f"{folder} already contains a run: choose another --name, or continue the run with --resume")
            files.write_text(folder / "config.json", settings.dumps(dataclasses.replace(config, resume=False)))
        try:
            results = _train(app, config, strategy, folder, chief)
        except Exception:
            if is_new and not (folder / "spec.json").exists():  # nothing has begun that could be resumed
                shutil.rmtree(folder)
            raise
        # a first worker that is lost while it tests or exports finds the others when it is started again: they have not left
        with contextlib.suppress(UserError) if chief else contextlib.nullcontext():
            loop.meet(strategy)
        return results


def trial(app, config, splits, watching=(), prepare=None):
    """Trains a system and returns it with its last weights; neither tests nor writes anything.

    splits:   Splits from the app's `data`; several trials may share them
    watching: Keras callbacks
    prepare:  function that is called with the model before the training
    """
    strategy = strategies.make(config.strategy)
    model = _built(app, config, splits, steps_of(config, splits), strategy)
    if prepare:
        prepare(model)
    loop.fit(model, splits.train, _validation(app, model, splits, config), epochs=config.epochs, strategy=strategy,
             callbacks=watching, steps_per_call=config.steps_per_call, limit_steps=config.limit_steps, xla=config.xla,
             validate_every=config.validate_every)
    return model


def initialize(app, model, config, folder):
    """Loads the initial weights of a model if they are not random: those of `--initialize`, or pretrained weights.

    From a run of another application, only the weights of the backbone are taken, see `training.initial_backbone`.

    folder: folder in which the application saves pretrained weights, so that pretraining runs only once
    """
    if config.initialize:
        weights = initial_runs.weights(app.task, config)
        if initial_runs.task_of(weights.parent, app.task) == app.task:
            _initialize(model, weights)
        else:
            _take_backbone(model, weights.parent)
    elif app.pretraining:
        app.pretraining.initialize(model, config, folder)


def steps_of(config, splits):
    """Returns the number of steps of a training."""
    return config.epochs * int(splits.train(0, 0, tf.distribute.InputContext()).cardinality())


def _built(app, config, splits, steps, strategy):
    """Returns the compiled model for the app's data."""
    keras.utils.set_random_seed(config.seed)  # after the data, whose preparation may draw from the same generators
    with strategy.scope():
        return app.build_model(config, splits.spec, steps)


def _validation(app, model, splits, config):
    """Returns what `loop.fit` validates by, or None without a validation split."""
    if splits.validation is None:
        return None

    def validate():
        metrics = app.evaluation.evaluate(model, splits.validation, config, splits.spec.info, validating=True)
        return {name: float(metrics[name]) for name in app.evaluation.VALIDATION_METRICS if name in metrics}

    return validate


def _train(app, config, strategy, folder, chief):
    seconds = {}
    began = time.perf_counter()
    print(f"{app.task} {config.model} on {config.dataset}: setting up {folder}", flush=True)
    if config.initialize:
        initial_runs.weights(app.task, config)  # before the data is read
    policy = strategies.set_precision(config)
    splits = app.data.datasets(config)
    steps, examples = steps_of(config, splits), sources.facts(config.dataset, config)
    if (folder / "spec.json").exists():
        _check_same_data(folder, config, splits.spec, steps, examples)
    model = _built(app, config, splits, steps, strategy)
    initialize(app, model, config, folder)  # again when it is resumed, before the checkpoint is read
    progress = callbacks.Progress()
    best = folder / "best.weights.h5"
    watching = []
    if chief:
        save_spec(splits.spec, steps, folder / "spec.json", examples)
        watching = [progress]
        if config.BEST_WEIGHTS and splits.validation is not None:
            watching.append(callbacks.BestWeights(best, *config.MONITOR))
        watching.append(tensorboard.TensorBoard(folder, batch_size=config.batch_size))
        watching += app.monitors.callbacks(model, splits, config, folder) if app.monitors else []
    seconds["setup"] = time.perf_counter() - began
    with _phase(seconds, "train"):
        loop.fit(
            model, splits.train, _validation(app, model, splits, config), epochs=config.epochs, strategy=strategy,
            callbacks=watching, steps_per_call=config.steps_per_call, checkpoints=folder / "checkpoints",
            checkpoint_every=config.checkpoint_every, validate_every=config.validate_every,
            limit_steps=config.limit_steps, xla=config.xla)
    if not chief:
        return None
    callbacks.write_weights(model, folder / "last.weights.h5")
    if best.exists():
        model.load_weights(best)

    info = splits.spec.info
    with _phase(seconds, "test"):
        metrics = app.evaluation.evaluate(model, splits.test, config, info)
    facts = {
        "app": app.task, "model": config.model, "dataset": config.dataset, "seed": config.seed, "metrics": metrics,
        "best_epoch": next((c.best_epoch + 1 for c in watching if getattr(c, "best_epoch", None) is not None), None),
        "seconds": {}, "examples_per_second": progress.examples_per_second(), "parameters": model.count_params(),
        "dtype": policy, "replicas": strategy.num_replicas_in_sync, "export": None, "versions": _versions()}
    earlier, _ = runs.json_object(folder / "results.json")  # there only the export was missing

    def write(version):
        times = {name: round(value, 2) for name, value in (seconds | {"total": time.perf_counter() - began}).items()}
        results = facts | {"seconds": times, "export": version and str(version)}
        results |= {name: earlier[name] for name in ("seconds", "examples_per_second") if name in earlier}
        files.write_text(folder / "results.json", json.dumps(results, indent=2) + "\n")
        return results

    write(None)  # whatever fails from here on, the test's figures are kept, and --resume makes the export
    with _phase(seconds, "export"):
        version = export.export(
            pathlib.Path(config.saved_models) / app.export_name(config), model, app.serving.signatures(model, config, info),
            labels={"labels.txt": info.class_names} if info.class_names else {},
            warmup=app.serving.warmup(config), force=config.force)
    results = write(version)
    with _leaving_complete():
        with _phase(seconds, "pictures"):
            showing.show(app, model, splits, config, folder, metrics)
        with showing.optional("printing the summary", config.debug):
            results = write(version)
            showing.farewell(app, config, folder, version, results)
    return results


def _check_same_data(folder, config, spec, steps, examples):
    """Refuses to go on with a run on data that is not what it began with."""
    kept, fault = runs.json_object(folder / "spec.json")
    if fault:
        raise UserError(f"cannot read the description of the data in {folder}: {fault}")
    words = difference(kept, spec, steps, examples)
    if words:
        raise UserError(f"{config.dataset} has changed since {folder.name} was started ({words}): "
                        "restore the data, or start a new run")


@contextlib.contextmanager
def _leaving_complete():
    """Tells whoever stops a run that is only shown still that nothing of it is missing."""
    message = "stopped; the results and the export were already written"
    with signals.leaving(message):
        try:
            yield
        except KeyboardInterrupt:
            print(f"\n{message}", file=sys.stderr)
            sys.exit(130)


def evaluate(app, request):
    """Tests a finished run on its own test split or that of another data set; prints and saves the metrics."""
    run = runs.finished(app.task, request)
    found = described(run.folder)
    model, config, spec = _model(found, run.folder), found.config, found.spec
    changes = {name: getattr(request, name) for name in ("dataset", "data_dir", "manual_dir") if getattr(request, name)}
    if "image" in spec.inputs and config.image_size is None:  # the run's own data set chose it
        changes["image_size"] = spec.inputs["image"].shape[1]
    config = dataclasses.replace(config, limit_steps=None, **changes)
    splits = app.data.datasets(config)
    test = _matched(run.folder.name, config.dataset, splits, spec)
    metrics = app.evaluation.evaluate(model, test, config, spec.info, resamples=request.resamples)
    path = run.folder / f"evaluation-{config.dataset.replace('/', '-').replace(':', '-')}.json"
    fault = None
    try:
        files.write_text(path, json.dumps({"dataset": config.dataset, "metrics": metrics}, indent=2) + "\n")
    except OSError as error:  # for example, another user's run; the metrics are printed anyway
        fault = error
    with showing.optional("printing the table", request.debug):
        app.evaluation.table(metrics)
    for name, value in showing.numbers(metrics).items():
        low_high = metrics.get("intervals", {}).get(name)
        print(f"{name:12} {value:.4f}" + (f"   95 % [{low_high[0]:.4f}, {low_high[1]:.4f}]" if low_high else ""))
    if fault:
        raise UserError(f"the metrics cannot be written to {path}: {fault.strerror}")
    print(f"written to {path}")
    return metrics


def _matched(run, dataset, splits, spec):
    """Returns the test split for a model that was trained on data that the Spec describes.

    Raises:
        UserError: the model does not fit it.
    """
    info, is_renumbered = splits.spec.info, False
    for name in spec.info.SAME:
        wanted, found, words = getattr(spec.info, name), getattr(info, name), name.replace("_", " ")
        if wanted == found:
            continue
        if sorted(map(str, wanted)) != sorted(map(str, found)):
            raise UserError(f"the {words} of {dataset} differ from those that {run} was trained with")
        if name != "class_names" or len(set(wanted)) < len(wanted):
            raise UserError(f"{run} was trained with the {words} of {dataset} in a different order: put them in the order "
                            f"{', '.join(map(str, wanted[:5]))}{' …' * (len(wanted) > 5)}")
        is_renumbered = True
    if splits.spec.inputs != spec.inputs:
        raise UserError(f"the input shapes of {dataset} differ from those that {run} was trained on")
    if is_renumbered:
        print(f"{dataset} lists the classes in a different order: they are matched by name")
    return renumbered(splits.test, info, spec.info) if is_renumbered else splits.test


def predict(app, request):
    """Predicts for files with the newest export or with a server, see `training.serving.answers`.

    Raises:
        UserError: some predictions failed; all others were written.
    """
    answers.predict(app, request)


def load(run):
    """Returns (the model with the best weights, its Config) of the run in a folder."""
    folder = pathlib.Path(run)
    found = described(folder)
    return _model(found, folder), found.config


def _model(found, folder):
    """Returns the model that a run's folder describes, with its weights."""
    strategies.set_precision(found.config)
    model = found.app.build_model(found.config, found.spec, found.steps)
    load_weights(model, folder)
    return model


class Described(NamedTuple):
    """Everything needed to rebuild the model of a run."""

    app: App
    config: settings.Config
    spec: Spec
    steps: int
    """steps of its training"""


def described(folder):
    """Returns what a run's folder contains as Described, without building the model.

    Raises:
        UserError: it is not the folder of a run, or its files cannot be read.
    """
    folder = pathlib.Path(folder)
    try:
        app = App(folder.resolve().parent.name)
    except UserError:
        raise UserError(f"{folder} is not the folder of a run, such as runs/<app>/<run>") from None
    config = settings.load(app.systems, folder / "config.json")
    return Described(app, config, *load_spec(folder / "spec.json", app.data.Info))


def load_weights(model, folder):
    """Loads the best weights of a run into a model, or its last weights if the system keeps those."""
    _load_file(model, runs.weights(folder))  # the optimizer's state is in the file too, and plays no part here


def _load_file(model, weights, **options):
    """Gives a model the weights in a file, of which it may need only a part.

    Raises:
        UserError: the file is damaged, or of another model.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what does not fit
            model.load_weights(weights, **options)
    except Exception as error:  # HDF5 and Keras say so in many ways
        if "unable to lock file" in str(error):  # nothing is wrong with the file
            raise
        raise UserError(f"the weights in {weights} cannot be read: {first_line(error)}") from error


def _initialize(model, weights):
    before = [keras.ops.convert_to_numpy(v) for v in model.weights]
    _load_file(model, weights, skip_mismatch=True)
    taken = sum(not np.array_equal(old, keras.ops.convert_to_numpy(v)) for old, v in zip(before, model.weights))
    if not taken:
        raise UserError(f"no weights in {weights} fit this network: they belong to another model or to other settings")
    left = len(before) - taken
    print(f"starting from {weights}" + (f"; {left} of {len(before)} weights are unchanged" if left else ""))


def _take_backbone(model, folder):
    """Gives the backbone of a model the weights of a run of another application."""
    found = described(folder)
    name = f"{folder} ({found.app.task} {found.config.model})"
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("float32")  # weights are float32 under every policy
        source = found.app.build_model(found.config, found.spec, found.steps)
    finally:
        keras.config.set_dtype_policy(policy)
    load_weights(source, folder)
    fitting, others = initial_backbone.take(model, source, name)
    left = f"; random weights for {', '.join(others)}, which it lacks or has in another shape" if others else ""
    print(f"starting from the backbone of {name}: {len(fitting)} of {len(fitting) + len(others)} convolutions{left}", flush=True)


@contextlib.contextmanager
def _phase(seconds, name):
    began = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - began


def _versions():
    packages = ("tensorflow", "keras", "tensorflow-datasets", "numpy")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages}
