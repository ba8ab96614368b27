"""What every application promises, on tiny settings: one table, one set of contracts."""
import dataclasses
import importlib
import json
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import training
from training import cli, config, run
from training.engine import loop
from training.serving import export

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = {
    "detection": {
        "faster_rcnn": dict(image_size=64, batch_size=4, pyramid_filters=16, head_units=32, samples=16, proposals=16),
        "retinanet": dict(image_size=64, batch_size=4, pyramid_filters=16, head_layers=1),
        "keras_cv_retinanet": dict(image_size=64, batch_size=4),
    },
    "classification": {
        "resnet": dict(image_size=16, width=4, batch_size=16, augment=True, dropout=0.2, gradient_noise=1e-4),
        "lenet5": dict(batch_size=16),
        "alexnet": dict(width=6, batch_size=16),
        "vgg16": dict(image_size=16, width=4, batch_size=16),
        "maxout": dict(width=4, batch_size=16),
        "dense_maxout": dict(width=8, batch_size=16, learning_rate=0.1, initializer="he", adversarial=0.1),
        "softmax": dict(image_size=8, batch_size=16),
    },
    "transfer": {
        "all_layers": dict(image_size=8, width=4, batch_size=16, source_epochs=1),
        "higher_layers": dict(image_size=8, width=4, batch_size=16, source_epochs=1),
        "classifier_only": dict(image_size=8, width=4, batch_size=16, source_epochs=1),
        "scratch": dict(image_size=8, width=4, batch_size=16),
        "multi_task": dict(image_size=8, width=4, batch_size=16),
    },
    "memory_qa": {
        "memn2n": dict(units=8, memory_size=10, hops=2, restarts=2, epochs=4, tasks=(1, 6)),
        "key_value": dict(units=8, memory_size=10, epochs=4, tasks=(1, 6)),
        "lstm": dict(units=8, memory_size=10, epochs=4, tasks=(1, 6)),
    },
    "dialog": {
        "memn2n": dict(units=8, memory_size=10, hops=2),
        "supervised_embeddings": dict(units=8, memory_size=10, epochs=4),
        "tfidf": dict(memory_size=10),
    },
    "ensembles": {
        "independent": dict(members=2, hidden=8, batch_size=16, epochs=2),
        "snapshots": dict(members=2, hidden=8, batch_size=16, epochs=2, learning_rate=0.1),
        "bagging": dict(members=2, hidden=8, batch_size=16, epochs=2),
        "adaboost": dict(members=2, hidden=8, batch_size=16, epochs=4, learning_rate=0.1),
        "gradient_boosting": dict(members=2, hidden=32, batch_size=16, epochs=2),
    },
    "foundations": {
        "softmax": dict(batch_size=16, columns=("alcohol", "flavanoids", "color_intensity", "proline")),
        "logistic": dict(batch_size=16, columns=("worst texture", "worst area", "worst smoothness", "worst concave points")),
        "linear": dict(batch_size=4, columns=("bmi", "bp", "s1", "s5")),
        "naive_bayes": dict(batch_size=16, columns=("alcohol", "flavanoids", "color_intensity", "proline")),
        "discriminant": dict(batch_size=16, columns=("alcohol", "flavanoids", "color_intensity", "proline")),
    },
}
"""app -> system -> settings that make it small; the first system is the app's default"""

OVERFIT = {"detection": dict(augment=False, learning_rate=3e-3),
           "classification": dict(augment=False, dropout=0.0, gradient_noise=0.0, adversarial=0.0), "foundations": dict(c="none")}
"""app -> settings that let one batch be learnt by heart"""

ONE_DEVICE = {("detection", "keras_cv_retinanet")}
"""what says in one sentence that it cannot work under replicas"""

NOTHING_TO_TRAIN = {("dialog", "tfidf"), ("foundations", "naive_bayes"), ("foundations", "discriminant")}
"""systems that count and have no weights to train"""

QUESTIONS = {"memory_qa": "Mary went to the kitchen.\nWhere is Mary?\n", "dialog": "user: hello\n",
             "foundations": "13.2,2.76,4.38,1050\n"}
"""app that reads text -> what it is asked"""

SYSTEMS = [pytest.param((app, model), marks=[] if index == 0 else pytest.mark.every_system, id=f"{app}-{model}")
           for app, systems in TINY.items() for index, model in enumerate(systems)]


def package(app):
    return importlib.import_module(f"apps.{app}")


def settings(app, model, **changes):
    return config.resolve(package(app), package(app).Config(model=model, **(TINY[app][model] | changes)))


def built(app, model, **changes):
    """Returns (module of the app, settings, splits, compiled model)."""
    resolved = settings(app, model, **changes)
    splits = importlib.import_module(f"apps.{app}.data").datasets(resolved)
    spec = splits.spec._replace(info=splits.spec.info | {"steps": 100})
    keras.utils.set_random_seed(0)
    return resolved, splits, importlib.import_module(f"apps.{app}.{model}").build_model(resolved, spec)


def test_every_app_and_every_system_is_in_the_table():
    assert set(TINY) == {path.parent.name for path in ROOT.glob("apps/*/__init__.py")}
    for app, systems in TINY.items():
        assert set(systems) == set(package(app).SYSTEMS)
        assert next(iter(systems)) == package(app).Config().model


@pytest.fixture(scope="module", params=SYSTEMS)
def finished(request, tmp_path_factory):
    """One tiny run of a system from data to export: (app, model, folder of everything, results)."""
    app, model = request.param
    folder = tmp_path_factory.mktemp(f"{app}-{model}")
    resolved = settings(app, model, limit_steps=3, runs=str(folder / "runs"), saved_models=str(folder / "saved_models"), name="tiny")
    return app, model, folder, run.train(package(app), resolved)


def test_a_run_leaves_what_the_architecture_says(finished):
    app, model, folder, results = finished
    kept = folder / "runs" / app / "tiny"
    assert json.loads((kept / "results.json").read_text()) == json.loads(json.dumps(results))
    numbers = [value for value in results["metrics"].values() if isinstance(value, float)]
    assert numbers and np.isfinite(numbers).all()
    assert (results["app"], results["model"]) == (app, model)
    for name in ("config.json", "spec.json", "last.weights.h5"):
        assert (kept / name).is_file()
    assert list((kept / "pictures").glob("*.png")) and list((kept / "train").glob("events*"))
    again = config.load(package(app).Config, kept / "config.json")
    assert config.resolve(package(app), again) == dataclasses.replace(again, name="tiny")


def test_a_run_gives_its_model_back(finished):
    app, model, folder, _ = finished
    again, resolved = training.load(folder / "runs" / app / "tiny")
    assert resolved.model == model and again.count_params() > 0


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


def test_the_export_answers_as_the_model_does_without_our_code(finished, stranger):
    app, _, folder, results = finished
    model, resolved = training.load(folder / "runs" / app / "tiny")
    info = json.loads((folder / "runs" / app / "tiny" / "spec.json").read_text())["info"]
    serving = importlib.import_module(f"apps.{app}.serving")
    request = {name: np.array(value) for name, value in serving.warmup(resolved)["serving_default"].items()}
    function, specs = serving.signatures(model, resolved, info)["serving_default"]
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


def test_predict_and_evaluate_answer(finished, tmp_path, capsys):
    app, _, folder, _ = finished
    given = tmp_path / ("some text.txt" if app in QUESTIONS else "some image.png")
    if app in QUESTIONS:
        given.write_text(QUESTIONS[app])
    else:
        given.write_bytes(tf.io.encode_png(np.random.default_rng(0).integers(0, 255, (90, 60, 3), np.uint8)).numpy())
    cli.main(package(app), ["predict", str(given), "--saved-models", str(folder / "saved_models"), "--output", str(tmp_path / "out")])
    answers = json.loads(next((tmp_path / "out").glob("*.json")).read_text())
    assert all(answer["error"] == "" for answer in (answers if isinstance(answers, list) else [answers]))
    assert str(given)[:60] in capsys.readouterr().out
    kept = folder / "runs" / app / "tiny"
    cli.main(package(app), ["evaluate", str(kept), "--resamples", "3"])
    again = json.loads(next(kept.glob("evaluation-*.json")).read_text())["metrics"]
    assert set(json.loads((kept / "results.json").read_text())["metrics"]) <= set(again)


LEARNING = [system for system in SYSTEMS if system.values[0] not in NOTHING_TO_TRAIN]


@pytest.mark.parametrize("system", LEARNING)
def test_one_batch_can_be_overfitted(system):
    known = {*package(system[0]).defaults(system[1], package(system[0]).Config().dataset), "gradient_noise", "augment", "adversarial"}
    _, splits, model = built(*system, **{name: value for name, value in OVERFIT.get(system[0], {}).items() if name in known})
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


class KeepWhatAKillLeaves(keras.callbacks.Callback):
    """Copies the checkpoints as they are after a step, which is what a kill at that moment leaves."""

    def __init__(self, step, checkpoints, copy):
        super().__init__()
        self.step, self.checkpoints, self.copy = step, checkpoints, copy

    def on_train_batch_end(self, batch, logs=None):
        if batch == self.step:
            shutil.copytree(self.checkpoints, self.copy)


@pytest.mark.parametrize("system", LEARNING)
def test_a_killed_training_resumes_exactly(system, tmp_path):
    """Augmentation, order, sampling, optimizer and statistics: all go on as if nothing had been."""
    def trained(checkpoints, callbacks=()):
        _, splits, model = built(*system)
        loop.fit(model, splits.train, epochs=1, limit_steps=4, steps_per_call=1, checkpoints=checkpoints, checkpoint_every=2,
                 callbacks=callbacks)
        return [keras.ops.convert_to_numpy(v) for v in model.variables + model.optimizer.variables]

    whole = trained(tmp_path / "whole", [KeepWhatAKillLeaves(2, tmp_path / "whole", tmp_path / "killed")])
    steps = []
    resumed = trained(tmp_path / "killed", [keras.callbacks.LambdaCallback(on_train_batch_end=lambda step, logs: steps.append(step))])
    assert steps == [2, 3]
    for one, other in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("system", SYSTEMS)
def test_two_replicas_do_all_that_one_does(system, tmp_path):
    app, model = system
    resolved = settings(app, model, strategy="mirrored", limit_steps=2, name="two", runs=str(tmp_path / "runs"),
                        saved_models=str(tmp_path / "saved_models"))
    if system in ONE_DEVICE:
        with pytest.raises(training.UserError, match="one device"):
            run.train(package(app), resolved)
        return
    results = run.train(package(app), resolved)
    assert results["replicas"] == 2
    warmup = importlib.import_module(f"apps.{app}.serving").warmup(settings(app, model))["serving_default"]
    answer = export.answer(pathlib.Path(results["export"]), warmup)
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
        cli.main(package(app), flags)
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert said.startswith("error: ") and words in said and said.count("\n") == 1 and "Traceback" not in said
    assert not list(tmp_path.glob("runs/*/*"))  # nothing that `--resume` would take for a run
