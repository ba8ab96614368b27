"""What every application and every system promises, on tiny settings: one table (`tiny.py`), one set of contracts.

The cheap contract, one tiny run for each system, is in the ordinary suite. The long one, with resume, XLA, replicas and
overfitting, runs there for each application's default system, and with `-m every_system` for all of them.
"""
import contextlib
import dataclasses
import importlib
import inspect
import io
import json
import pathlib
import re
import shutil
import subprocess
import sys
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

import training
from apps.__main__ import catalogue
from tests.apps.tiny import NOTHING_TO_TRAIN, ONE_DEVICE, OVERFIT, QUESTIONS, TINY
from training import app as contract
from training import cli, config, run, tables
from training.app import App
from training.engine import checkpoint, loop

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXPORTS = (ROOT / "saved_models" / "README.md").read_text(encoding="utf-8")
"""the page with the signatures of every application"""
ALL = [pytest.param((app, model), id=f"{app}-{model}") for app, systems in TINY.items() for model in systems]
"""every system, for the cheap contract"""
LONG = [pytest.param((app, model), marks=[pytest.mark.every_system] if number else [], id=f"{app}-{model}")
        for app, systems in TINY.items() for number, model in enumerate(systems)]
"""every system, for the long contract; the ordinary suite runs it for each application's first one"""
LEARNING = [system for system in LONG if system.values[0] not in NOTHING_TO_TRAIN]


def settings(app, model, **changes):
    kind = App(app).systems[model]
    return kind.of(**TINY[app][model] | changes)


def built(app, model, **changes):
    """Returns (settings, splits, compiled model)."""
    resolved = settings(app, model, **changes)
    splits = App(app).data.datasets(resolved)
    keras.utils.set_random_seed(0)
    return resolved, splits, App(app).build_model(resolved, splits.spec, steps=100)


def test_every_app_and_every_system_is_in_the_table():
    assert {app: list(systems) for app, systems in TINY.items()} == {
        task: list(app.systems) for task, app in sorted(catalogue().items(), key=lambda pair: list(TINY).index(pair[0]))}


def parameters(function):
    return [(each.name, each.kind, each.default) for each in inspect.signature(function).parameters.values() if each.name != "self"]


@pytest.mark.parametrize("task", TINY)
def test_an_application_has_the_typed_rooms(task):
    """Each function of a room has the parameters that `training.app` states, and each system its module and its facts."""
    app = App(task)
    for name, protocol in (contract.ROOMS | contract.OPTIONAL_ROOMS).items():
        room = getattr(app, name)
        assert room is not None or name in contract.OPTIONAL_ROOMS, name
        for member, stated in vars(protocol).items():
            if room is not None and inspect.isfunction(stated) and not member.startswith("_"):
                assert parameters(getattr(room, member)) == parameters(stated), f"{task}.{name}.{member}"
        for member in protocol.__annotations__ if room is not None else ():
            assert hasattr(room, member), f"{task}.{name} lacks {member}"
    for model, kind in app.systems.items():
        module = importlib.import_module(f"apps.{task}.{model}")
        assert parameters(module.build_model) == parameters(contract.System.build_model)
        assert kind.MONITOR[0] in app.evaluation.VALIDATION_METRICS and kind.MONITOR[1] in ("min", "max")
        assert "__dataclass_fields__" in vars(kind) and isinstance(kind.ID, tuple) and config.title(kind)
        documented = training.forms.docs(kind)
        assert {field.name for field in dataclasses.fields(kind)} <= set(documented)
    for verb, kind in app.verbs.items():
        assert (ROOT / f"apps/{task}/{verb}.py").is_file() or (ROOT / f"apps/{task}/experiments/{verb}.py").is_file()
        assert config.title(kind)


@pytest.fixture(scope="module")
def finished(request, tmp_path_factory):
    """One tiny run of a system from data to export: (app, model, folder of everything, results)."""
    app, model = request.param
    folder = tmp_path_factory.mktemp(f"{app}-{model}")
    resolved = settings(app, model, limit_steps=3, checkpoint_every=2, runs=str(folder / "runs"),
                        saved_models=str(folder / "saved_models"), name="tiny")
    real = checkpoint.Checkpoints.save

    def save(checkpoints, epoch, step):
        real(checkpoints, epoch, step)
        if (epoch, step) == (0, 2):
            shutil.copytree(checkpoints.folder, folder / "killed")

    said = io.StringIO()
    with mock.patch.object(checkpoint.Checkpoints, "save", save), contextlib.redirect_stderr(said):
        results = run.train(App(app), resolved)
    assert " failed: " not in said.getvalue()  # nothing of what is shown
    return app, model, folder, results


STRANGER = """
import json, sys
import numpy as np
import tensorflow as tf
for line in sys.stdin:
    export, given, kept = json.loads(line)
    served = tf.saved_model.load(export)
    with np.load(given) as request:
        answer = served.signatures["serving_default"](**{name: tf.constant(request[name]) for name in request.files})
    assert not {"apps", "layers", "training"} & {name.partition(".")[0] for name in sys.modules}
    np.savez(kept, **{name: value.numpy().astype("S") if value.dtype == tf.string else value.numpy() for name, value in answer.items()})
    print("kept", flush=True)
"""


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """A process that knows none of our code: (folder of an export, file of a request, file for the answer) -> "kept"."""
    with subprocess.Popen([sys.executable, "-c", STRANGER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          cwd=tmp_path_factory.mktemp("stranger")) as process:
        def ask(*paths):
            process.stdin.write(json.dumps([str(path) for path in paths]) + "\n")
            process.stdin.flush()
            return process.stdout.readline().strip()
        yield ask
        process.stdin.close()


@pytest.mark.parametrize("finished", ALL, indirect=True)
def test_the_cheap_contract(finished, stranger, tmp_path, capsys):
    """What a run leaves, its model given back, its export without our code, `predict` and `evaluate`."""
    app, model, folder, results = finished
    kept = folder / "runs" / app / "tiny"
    assert json.loads((kept / "results.json").read_text()) == json.loads(json.dumps(results))
    numbers = [value for value in results["metrics"].values() if isinstance(value, float)]
    assert numbers and np.isfinite(numbers).all()
    assert (results["app"], results["model"]) == (app, model)
    for name in ("config.json", "spec.json", "last.weights.h5"):
        assert (kept / name).is_file()
    assert list((kept / "pictures").glob("*.png")) and list((kept / "train").glob("events*"))
    assert config.load(App(app).systems, kept / "config.json") == settings(
        app, model, limit_steps=3, checkpoint_every=2, runs=str(folder / "runs"), saved_models=str(folder / "saved_models"), name="tiny")

    again, resolved = training.load(kept)
    assert resolved.model == model and again.count_params() == results["parameters"]
    answers_without_our_code(app, again, resolved, folder, results, stranger)
    exported = pathlib.Path(results["export"]).parent.name
    assert exported == App(app).export_name(resolved)
    documented = re.search(rf"<!-- signatures: {exported} -->\n(.*?)\n<!-- end -->", EXPORTS, re.DOTALL)
    assert documented and documented[1] == tables.signatures(training.run.export.describe(results["export"])), (
        "run python -m apps runs tables --exports FOLDER")

    given = tmp_path / ("some text.txt" if app in QUESTIONS else "some image.png")
    if app in QUESTIONS:
        given.write_text(QUESTIONS[app])
    else:
        given.write_bytes(tf.io.encode_png(np.random.default_rng(0).integers(0, 255, (90, 60, 3), np.uint8)).numpy())
    capsys.readouterr()
    cli.main(f"apps.{app}", ["predict", str(given), "--saved-models", str(folder / "saved_models"), "--output", str(tmp_path / "out")])
    answers = json.loads(next((tmp_path / "out").glob("*.json")).read_text())
    assert all(answer["error"] == "" for answer in (answers if isinstance(answers, list) else [answers]))
    assert str(given)[:60] in capsys.readouterr().out
    cli.main(f"apps.{app}", ["evaluate", str(kept), "--resamples", "3"])
    evaluated = json.loads(next(kept.glob("evaluation-*.json")).read_text())["metrics"]
    assert set(results["metrics"]) <= set(evaluated)


def answers_without_our_code(app, model, resolved, folder, results, stranger):
    serving = App(app).serving
    request = {name: np.array(value) for name, value in serving.warmup(resolved)["serving_default"].items()}
    function, _ = serving.signatures(model, resolved, run.described(folder / "runs" / app / "tiny").spec.info)["serving_default"]
    expected = tf.function(function)(**{name: tf.constant(value) for name, value in request.items()})
    np.savez(folder / "request.npz", **{name: value.astype("S") if value.dtype == object else value for name, value in request.items()})
    assert stranger(results["export"], folder / "request.npz", folder / "answer.npz") == "kept"
    with np.load(folder / "answer.npz") as answer:
        assert set(answer.files) == set(expected)
        for name, value in expected.items():
            if value.dtype == tf.string:
                assert answer[name].astype(object).tolist() == value.numpy().tolist()
            else:
                np.testing.assert_allclose(answer[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("finished", LEARNING, indirect=True)
def test_a_killed_training_resumes_exactly(finished, tmp_path):
    """Augmentation, order, sampling, optimizer and statistics: all go on as if nothing had been.

    The run was saved after two of its three steps. A copy of its checkpoints at that moment is what a kill leaves.
    """
    app, model, folder, _ = finished
    killed = shutil.copytree(folder / "killed", tmp_path / "killed")
    resolved = settings(app, model, limit_steps=3)
    splits = App(app).data.datasets(resolved)
    keras.utils.set_random_seed(resolved.seed)
    resumed = App(app).build_model(resolved, splits.spec, run.steps_of(resolved, splits))
    steps = []
    seen = keras.callbacks.LambdaCallback(on_train_batch_end=lambda step, logs: steps.append(step))
    loop.fit(resumed, splits.train, run._validation(App(app), resumed, splits, resolved), epochs=resolved.epochs, limit_steps=3,
             steps_per_call=1, checkpoints=killed, callbacks=[seen], xla=resolved.xla)
    assert steps == [2]
    expected, found = (checkpoint.read(max(at.glob("*.npz")))[1] for at in (folder / "runs" / app / "tiny" / "checkpoints", killed))
    count = len(resumed.variables) + len(resumed.optimizer.variables)
    for one, other in zip(expected[:count], found[:count], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("system", LEARNING)
def test_one_batch_can_be_overfitted(system):
    app, model = system
    known = {field.name for field in dataclasses.fields(App(app).systems[model])}
    changes = OVERFIT.get(app, {}) | OVERFIT.get(system, {})
    _, splits, model = built(app, model, **{name: value for name, value in changes.items() if name in known})
    batch = next(iter(splits.train(0, 0, tf.distribute.InputContext())))

    def batches(epoch, skip, context):
        return tf.data.Dataset.from_tensors(batch).repeat(40).skip(skip).apply(tf.data.experimental.assert_cardinality(40 - skip))

    losses = loop.fit(model, batches, epochs=3).history["loss"]
    assert losses[-1] < 0.5 * losses[0], losses


@pytest.mark.parametrize("system", LEARNING)
def test_the_train_step_compiles_under_xla(system):
    """Static shapes and compilable operations: what a TPU asks for, as far as a CPU can tell."""
    _, splits, model = built(*system, xla=True)
    before = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    losses = loop.fit(model, splits.train, epochs=1, limit_steps=2, xla=True).history["loss"]  # the first step's rate is 0
    after = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    assert np.isfinite(losses).all()
    assert any((a != b).any() for a, b in zip(before, after))


@pytest.mark.parametrize("system", LONG)
def test_two_replicas_train_and_evaluate(system):
    app, model = system
    resolved = settings(app, model, strategy="mirrored", limit_steps=2)
    splits = App(app).data.datasets(resolved)
    if system in ONE_DEVICE:
        with pytest.raises(training.UserError, match="one device"):
            run.trial(App(app), resolved, splits)
        return
    trained = run.trial(App(app), resolved, splits._replace(validation=None))
    assert len(trained.trainable_variables[0].value.values) == 2 if trained.trainable_variables else True
    metrics = App(app).evaluation.evaluate(trained, splits.test.take(2), resolved, splits.spec.info)
    assert all(np.isfinite(value) for value in metrics.values() if isinstance(value, float))


def test_a_run_under_two_replicas_is_exported(tmp_path):
    resolved = settings("classification", "softmax", strategy="mirrored", limit_steps=2, name="two", runs=str(tmp_path / "runs"),
                        saved_models=str(tmp_path / "saved_models"))
    results = run.train(App("classification"), resolved)
    assert results["replicas"] == 2
    request = App("classification").serving.warmup(resolved)["serving_default"]
    answer = training.run.export.answer(pathlib.Path(results["export"]), request)
    assert all(np.isfinite(value).all() for value in answer.values() if value.dtype == np.float32)


@pytest.mark.parametrize("app", TINY)
@pytest.mark.parametrize(("flags", "words"), [
    (["--dataset", "digit_scene"], "did you mean digit_scenes"),
    (["--manual-dir", "nowhere", "--dataset", "bccd"], "nowhere"),
    (["--dataset", "voc/2007"], "--download"),
    (["--strategy", "tpu"], "TPU"),
    (["--strategy", "multi_worker", "--name", "both"], "TF_CONFIG"),
    (["--resume"], "no unfinished run"),
    (["--initialize", "nothing"], "no run nothing"),
    (["--epochs", "0"], "--epochs"),
    (["predict", "missing.png"], "missing.png"),
    (["evaluate", "missing"], "missing"),
])
def test_bad_input_is_one_clear_sentence(app, flags, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        cli.main(f"apps.{app}", flags)
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert said.startswith("error: ") and words in said and said.count("\n") == 1 and "Traceback" not in said
    assert not list(tmp_path.glob("runs/*/*"))  # nothing that `--resume` would take for a run
