"""The flow of every application: train, test, draw, export; and what is done with a finished run."""
import contextlib
import dataclasses
import importlib
import importlib.metadata
import importlib.util
import json
import pathlib
import platform
import shlex
import shutil
import signal
import sys
import threading
import time
import warnings

import keras
import numpy as np
import tensorflow as tf

from training import config as settings
from training import runs
from training.config import UserError
from training.data.spec import load_spec, save_spec
from training.engine import callbacks, checkpoint, loop, strategies, tensorboard
from training.serving import client, export

_NO_HPARAMS = {"data_dir", "manual_dir", "download", "runs", "saved_models", "name", "resume", "force", "debug",
               "checkpoint_every", "steps_per_call", "validate_every", "initialize"}
"""settings that do not change what is learnt"""
_MEANINGS = ("class_names", "source_class_names", "columns", "words", "tasks", "candidates", "knowledge")
"""facts of the data that another set must share to be evaluated on; the others only build the network"""


def train(app, config):
    """Trains a system, tests its best weights once, draws, exports and writes the run's results; returns them."""
    folder, config = runs.unfinished(_task(app), config) if config.resume else (runs.new(_task(app), config), config)
    if not config.force:
        export.check_tensorflow()  # before the training, not after it
    strategy = strategies.make(config.strategy)  # that of the run, where it is gone on with
    chief = strategies.is_chief(strategy)
    is_new = chief and not folder.exists()
    if chief:
        folder.mkdir(parents=True, exist_ok=True)
    with checkpoint.lock(folder) if chief else contextlib.nullcontext(), _terminated():
        if chief:
            if (folder / "results.json").exists() or ((folder / "config.json").exists() and not config.resume):
                raise UserError(f"{folder} holds a run already: choose another --name, or go on with it by --resume")
            settings.save(dataclasses.replace(config, resume=False), folder / "config.json")
        try:
            return _train(app, config, strategy, folder, chief)
        except Exception:
            if is_new and not (folder / "spec.json").exists():  # nothing has begun that could be gone on with
                shutil.rmtree(folder)
            raise


def trial(app, config, splits, watching=(), prepare=None):
    """Trains a system and returns it with its last weights: neither tests nor writes anything.

    splits:   of the app's `data`, which may be read once for several trials
    watching: Keras callbacks
    prepare:  gets the model before it is trained
    """
    strategy = strategies.make(config.strategy)
    model, spec = _built(app, config, splits, strategy)
    if prepare:
        prepare(model)
    loop.fit(model, splits.train, _validation(app, model, splits, config, spec.info), epochs=config.epochs, strategy=strategy,
             callbacks=watching, steps_per_call=config.steps_per_call, limit_steps=config.limit_steps, xla=config.xla,
             validate_every=config.validate_every or 1)
    return model


def initialize(app, model, config, folder):
    """Gives a model the weights that it starts from where these are not random: of `--initialize`, or the system's own.

    folder: in which a system keeps what it has to train for that, so that it does so once
    """
    system = module(app, config.model)
    if config.initialize:
        _initialize(model, runs.initial_weights(_task(app), config))
    elif hasattr(system, "initialize"):
        system.initialize(model, config, folder)


def objective(app, config):
    """Returns (name, "min" or "max") of what validation chooses by."""
    return module(app, config.model).MONITOR or app.OBJECTIVE


def _built(app, config, splits, strategy):
    """Returns (model, spec) for the app's data."""
    whole = splits.train(0, 0, tf.distribute.InputContext())
    spec = splits.spec._replace(info=splits.spec.info | {"steps": config.epochs * int(whole.cardinality())})
    system = module(app, config.model)
    keras.utils.set_random_seed(config.seed)  # after the data, whose preparation may draw from the same generators
    with strategy.scope():
        return system.build_model(config, spec), spec


def _validation(app, model, splits, config, info):
    """Returns what `loop.fit` validates by: the app's own evaluation, or the batches."""
    evaluation = module(app, "evaluation", optional=True)
    if splits.validation is None or not evaluation:
        return splits.validation

    def validate():
        metrics = evaluation.evaluate(model, splits.validation, config, info, validating=True)
        return {name: float(metrics[name]) for name in evaluation.VALIDATION_METRICS}

    return validate


def _train(app, config, strategy, folder, chief):
    seconds = {}
    began = time.perf_counter()
    print(f"{app.SYSTEMS[config.model]}, on {config.dataset}; the run is {folder}", flush=True)
    if config.initialize:
        runs.initial_weights(_task(app), config)  # before the data is read
    policy = strategies.precision(config.dtype)
    keras.config.set_dtype_policy(policy)
    splits = module(app, "data").datasets(config)
    system = module(app, config.model)
    model, spec = _built(app, config, splits, strategy)
    initialize(app, model, config, folder)  # again when it is resumed, before the checkpoint is read
    evaluation = module(app, "evaluation", optional=True)
    progress = callbacks.Progress()
    best = folder / "best.weights.h5"
    watching = [progress]
    if system.MONITOR and splits.validation is not None:
        watching.append(callbacks.BestWeights(best, *system.MONITOR))
    if chief:
        save_spec(spec, folder / "spec.json")
        watching.append(tensorboard.TensorBoard(folder, batch_size=config.batch_size))
        monitors = module(app, "monitors", optional=True)
        watching += monitors.callbacks(model, splits, config, folder) if monitors else []
    else:
        watching = []
    seconds["setup"] = time.perf_counter() - began
    with _phase(seconds, "train"):
        loop.fit(
            model, splits.train, _validation(app, model, splits, config, spec.info), epochs=config.epochs, strategy=strategy,
            callbacks=watching, steps_per_call=config.steps_per_call, checkpoints=folder / "checkpoints",
            checkpoint_every=config.checkpoint_every, validate_every=config.validate_every or 1,
            limit_steps=config.limit_steps, xla=config.xla)
    if not chief:
        return None
    callbacks.write_weights(model, folder / "last.weights.h5")
    if best.exists():
        model.load_weights(best)

    with _phase(seconds, "test"):
        metrics = _evaluate(evaluation, model, splits.test, config, spec.info)
    if evaluation:
        evaluation.table(metrics)
    pictures = module(app, "pictures", optional=True)
    if pictures:
        with _phase(seconds, "pictures"):
            _draw(pictures, model, splits, config, spec.info, folder)
            tensorboard.graph(folder, model, spec.inputs)
    with _phase(seconds, "export"):
        serving = module(app, "serving")
        version = export.export(
            pathlib.Path(config.saved_models) / _task(app), model, serving.signatures(model, config, spec.info),
            labels={"labels.txt": spec.info["class_names"]} if "class_names" in spec.info else {},
            warmup=serving.warmup(config), force=config.force)
    tensorboard.hparams(folder, {name: value for name, value in dataclasses.asdict(config).items() if name not in _NO_HPARAMS},
                        _numbers(metrics))
    results = {
        "app": _task(app), "model": config.model, "dataset": config.dataset, "seed": config.seed, "metrics": metrics,
        "best_epoch": next((c.best_epoch + 1 for c in watching if getattr(c, "best_epoch", None) is not None), None),
        "seconds": {name: round(value, 2) for name, value in seconds.items()} | {
            "total": round(time.perf_counter() - began, 2)},
        "examples_per_second": progress.examples_per_second(), "parameters": model.count_params(), "dtype": policy,
        "replicas": strategy.num_replicas_in_sync, "export": str(version), "versions": _versions()}
    checkpoint.write_text(folder / "results.json", json.dumps(results, indent=2) + "\n")
    _farewell(app, folder, version, results)
    return results


def evaluate(app, request):
    """Tests a finished run on its own test split or another data set's, prints and keeps the figures."""
    run = runs.finished(_task(app), request)
    model, config = load(run.folder)
    changes = {name: getattr(request, name) for name in ("dataset", "data_dir", "manual_dir") if getattr(request, name)}
    spec = load_spec(run.folder / "spec.json")
    info = spec.info
    if "image" in spec.inputs and config.image_size is None:  # it was what suited the run's own data set
        changes["image_size"] = spec.inputs["image"].shape[1]
    config = dataclasses.replace(config, limit_steps=None, **changes)
    splits = module(app, "data").datasets(config)
    other = next((name for name in _MEANINGS if splits.spec.info.get(name) != info.get(name)), None)
    if other:
        raise UserError(f"{run.folder.name} was trained with other {other.replace('_', ' ')} than {config.dataset} has")
    if splits.spec.inputs != spec.inputs:
        raise UserError(f"{run.folder.name} was trained on inputs of other shapes than {config.dataset} has")
    evaluation = module(app, "evaluation", optional=True)
    metrics = _evaluate(evaluation, model, splits.test, config, info, resamples=request.resamples)
    if evaluation:
        evaluation.table(metrics)
    for name, value in _numbers(metrics).items():
        low_high = metrics.get("intervals", {}).get(name)
        print(f"{name:12} {value:.4f}" + (f"   95 % [{low_high[0]:.4f}, {low_high[1]:.4f}]" if low_high else ""))
    path = run.folder / f"evaluation-{config.dataset.replace('/', '-').replace(':', '-')}.json"
    path.write_text(json.dumps({"dataset": config.dataset, "metrics": metrics}, indent=2) + "\n")
    print(f"kept in {path}")
    return metrics


def predict(app, request):
    """Answers for files with the newest export, or with the server that holds it.

    Raises:
        UserError: some have no answer; the others' are written.
    """
    serving = module(app, "serving")
    inputs = serving.request(request.inputs)
    signature = getattr(serving, "PREDICT", "serving_default")
    if request.server:
        answer = client.answer(request.server, _task(app), inputs, signature, timeout=request.timeout_seconds)
    else:
        version = pathlib.Path(request.export) if request.export else \
            export.newest(pathlib.Path(request.saved_models) / _task(app))
        answer = export.answer(version, inputs, signature)
    serving.present(request.inputs, answer, pathlib.Path(request.output))
    errors = [error.decode() for error in answer["error"]]
    refused = [error for error in errors if error]
    if refused:  # the others are answered all the same
        raise UserError(f"there is no answer for {len(refused)} of {len(errors)}: {refused[0]}")
    return answer


def summary(app, config):
    """Prints shape, parameters and multiply-adds of every layer for one example."""
    keras.config.set_dtype_policy("float32")
    spec = module(app, "data").datasets(config).spec
    model = module(app, config.model).build_model(config, spec._replace(info=spec.info | {"steps": 1}))
    rows = [("layer", "output", "parameters", "multiply-adds"), *layer_rows(model, spec)]
    print(runs.table([[f"{value:,}" if isinstance(value, int) else value for value in row] for row in rows]))
    print(f"\n{config.model}: {model.count_params():,} parameters, "
          f"{sum(row[3] for row in rows[1:]):,} multiply-adds in convolutions and dense layers for one example")


def load(run):
    """Returns (model with the run's best weights, its Config) for a run's folder."""
    folder = pathlib.Path(run)
    app, config, spec = described(folder)
    keras.config.set_dtype_policy(strategies.precision(config.dtype))
    model = module(app, config.model).build_model(config, spec)
    load_weights(model, folder)
    return model, config


def described(folder):
    """Returns (its application, Config, Spec) of a run's folder; no model is made.

    Raises:
        UserError: it is no run's folder, or its files cannot be read.
    """
    folder = pathlib.Path(folder)
    app = application(folder.resolve().parent.name)
    if app is None:
        raise UserError(f"{folder} is no run's folder: that is runs/<app>/<run>")
    return app, settings.load(app.Config, folder / "config.json"), load_spec(folder / "spec.json")


def application(task):
    """Returns the package of an application, or None where there is none of this name."""
    if not task.isidentifier() or importlib.util.find_spec(f"apps.{task}") is None:
        return None
    return importlib.import_module(f"apps.{task}")


def load_weights(model, folder):
    """Gives a model the best weights of a run, or its last ones where the system takes those."""
    weights = runs.weights(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the optimizer's state is in the file too, and plays no part here
        model.load_weights(weights)


def _task(app):
    return app.__name__.rpartition(".")[2]


def module(app, name, optional=False):
    """Returns a module of an application, or None where it has none and needs none."""
    if optional and importlib.util.find_spec(f"{app.__name__}.{name}") is None:
        return None
    return importlib.import_module(f"{app.__name__}.{name}")


def _initialize(model, weights):
    before = [keras.ops.convert_to_numpy(v) for v in model.weights]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of each layer that does not fit
        model.load_weights(weights, skip_mismatch=True)
    taken = sum(not np.array_equal(old, keras.ops.convert_to_numpy(v)) for old, v in zip(before, model.weights))
    if not taken:
        raise UserError(f"nothing of {weights} fits this network: it is of another model or of other settings")
    left = len(before) - taken
    print(f"starting from {weights}" + (f"; {left} of {len(before)} weights stay as they are" if left else ""))


def _evaluate(evaluation, model, batches, config, info, **options):
    if evaluation:
        return evaluation.evaluate(model, batches, config, info, **options)
    if config.limit_steps:
        batches = batches.take(config.limit_steps)
    return model.evaluate(batches, verbose=0, return_dict=True)


def _draw(pictures, model, splits, config, info, folder):
    """Writes what the application's `pictures` module makes; of its functions it has those that mean something for it."""
    drawn, activations, texts, embeddings = (
        getattr(pictures, name)(model, splits, config, info) if hasattr(pictures, name) else {}
        for name in ("pictures", "activations", "texts", "embeddings"))
    (folder / "pictures").mkdir(exist_ok=True)
    for name, images in drawn.items():
        for number, image in enumerate(np.asarray(images)):
            path = folder / "pictures" / f"{name.replace('/', '_')}_{number}.png"
            tf.io.write_file(str(path), tf.io.encode_png(image))
    tensorboard.images(folder, drawn, step=config.epochs)
    tensorboard.activations(folder, activations, step=config.epochs)
    tensorboard.texts(folder, texts, step=config.epochs)
    for name, (vectors, metadata, thumbnails) in embeddings.items():
        tensorboard.projector(folder, name, vectors, metadata, thumbnails)


def layer_rows(model, spec):
    """Returns (name, output shape, parameters, multiply-adds) per call of a leaf layer, in the order of the calls.

    A layer of several affine ones says its `rows(outputs)` itself. Weights that the answer is computed from and no such layer
    holds are in a row of their own.
    """
    rows, called = [], {}

    def recording(layer, call):
        def recorded(*args, **kwargs):
            outputs = call(*args, **kwargs)
            output = keras.tree.flatten(outputs)[0]
            name = layer.path or layer.name
            called[id(layer)] = layer.count_params()
            rows.extend([(f"{name}/{part}", *row) for part, *row in layer.rows(output)] if hasattr(layer, "rows") else
                        [(name, str(tuple(output.shape)), called[id(layer)], _multiply_adds(layer, args[0], output))])
            return outputs
        return recorded

    leaves = [layer for layer in model._flatten_layers(include_self=False) if not list(layer._flatten_layers(include_self=False))]
    for layer in leaves:
        layer.call = recording(layer, layer.call)
    one = {name: tf.TensorSpec([1, *part.shape[1:]], part.dtype) for name, part in spec.inputs.items()}
    tf.function(model).get_concrete_function(one)
    others = model.count_params() - sum(called.values())
    return rows + ([("other weights", "", others, 0)] if others > 0 else [])


def _multiply_adds(layer, inputs, output):
    """Returns a convolution's or dense layer's multiply-adds for one example, and 0 for other layers.

    Each weight of a kernel is used once at each place of the output: (N - F + 2 P) / S + 1 places along a side.
    """
    is_convolution = hasattr(layer, "kernel") and hasattr(layer, "kernel_size") and len(output.shape) == 4
    if not is_convolution and not isinstance(layer, keras.layers.Dense):
        return 0
    return int(np.prod(output.shape[:-1])) * int(np.prod(layer.kernel.shape))


@contextlib.contextmanager
def _terminated():
    """Ends with a message at SIGTERM wherever `loop.fit`, which saves first, has no handler of its own."""
    def leave(number, frame):
        print("stopped; go on with --resume", file=sys.stderr, flush=True)
        sys.exit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _phase(seconds, name):
    began = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - began


def _numbers(metrics):
    return {name: float(value) for name, value in metrics.items() if isinstance(value, (int, float, np.number))}


def _versions():
    packages = ("tensorflow", "keras", "tensorflow-datasets", "numpy")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages}


def _farewell(app, folder, version, results):
    saved_models = version.parent.parent.resolve()
    tensorboard_command = pathlib.Path(sys.executable).with_name("tensorboard")
    shown = "  ".join(f"{name} {value:.4f}" for name, value in _numbers(results["metrics"]).items() if value >= 0)
    print(f"""
test      {shown}
time      {results['seconds']['total']:.0f} s in all, {results['seconds']['train']:.0f} s of them training
run       {folder}
export    {version}
pictures  {folder / 'pictures'}
look      {shlex.quote(str(tensorboard_command))} --logdir {shlex.quote(str(folder.parent))}
predict   {shlex.quote(sys.executable)} -m {app.__name__} predict FILE…
serve     docker run --rm -p 127.0.0.1:8500:8500 -p 127.0.0.1:8501:8501 -v {shlex.quote(str(saved_models))}:/models:ro \\
            tensorflow/serving:{export.SERVER_VERSION} --model_config_file=/models/models.config \\
            --enable_batching --batching_parameters_file=/models/batching.config \\
            --monitoring_config_file=/models/monitoring.config
          then: {shlex.quote(sys.executable)} -m {app.__name__} predict --server localhost:8500 FILE…""", flush=True)
