"""The flow of a run: what it leaves when it is stopped or refused, and with what it goes on."""
import json
import os
import pathlib
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.classification import evaluation, pictures
from training import UserError, cli, runs, showing
from training import config as settings
from training import run as flow
from training.app import App
from training.engine import tensorboard
from training.serving import export

TINY = ["--model", "softmax", "--image-size", "8", "--limit-steps", "3"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*flags):
    cli.main("apps.classification", [*TINY, *flags])


def resume(*flags):
    cli.main("apps.classification", ["--resume", *flags])


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main("apps.classification", list(arguments))
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.startswith("error: ") and said.count("\n") == 1
    return said


def results(name):
    return json.loads(pathlib.Path("runs", "classification", name, "results.json").read_text())


def stop_in(monkeypatch, module, name, error):
    def stopped(*args, **settings):
        raise error
    monkeypatch.setattr(module, name, stopped)


def test_a_run_under_replicas_is_gone_on_with_under_them(folder, monkeypatch):
    with monkeypatch.context() as patched:
        stop_in(patched, export, "export", KeyboardInterrupt())
        with pytest.raises(SystemExit):
            train("--strategy", "mirrored", "--name", "two")
    resume()
    assert results("two")["replicas"] == 2


def test_a_refused_export_is_made_on_the_way_back(folder, capsys):
    train("--name", "first")
    version = pathlib.Path(results("first")["export"])
    different = tf.Module()
    different.serve = tf.function(lambda image_bytes: {"other": tf.strings.length(image_bytes)},
                                  input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    tf.saved_model.save(different, str(version.with_name("2")), signatures={"serving_default": different.serve})
    capsys.readouterr()
    assert "clients of" in refused(capsys, *TINY, "--name", "second")
    kept = results("second")
    assert kept["metrics"]["accuracy"] >= 0 and kept["export"] is None
    assert runs.find("second", "runs").state == "not exported"
    assert "clients of" in refused(capsys, "--resume")  # as before
    resume("--saved-models", "elsewhere")
    found = results("second")
    assert found["export"].startswith("elsewhere") and runs.find("second", "runs").state == "finished"
    same = ("metrics", "seconds", "examples_per_second", "best_epoch")
    assert {name: found[name] for name in same} == {name: kept[name] for name in same}
    assert "no unfinished run" in refused(capsys, "--resume")


def test_a_run_that_could_not_begin_leaves_no_folder(folder, monkeypatch, capsys):
    stop_in(monkeypatch, keras.Model, "compile", ValueError("of a setting"))
    refused(capsys, *TINY, "--name", "bad")
    assert not (folder / "runs" / "classification" / "bad").exists()


def test_a_termination_outside_of_the_loop_says_how_to_go_on(folder, monkeypatch, capsys):
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patched:
        patched.setattr(App("classification").serving, "warmup", lambda config: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(SystemExit) as ended:
            train("--name", "stopped")
    assert ended.value.code == 143 and "continue with --resume" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before
    resume()
    assert results("stopped")["metrics"]["accuracy"] >= 0


def fail(*args, **kwargs):
    raise ValueError("of a name\nand more")


def test_what_is_only_shown_costs_a_finished_training_nothing(folder, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        for module, name in ((evaluation, "table"), (pictures, "render"), (tensorboard, "graph"), (tensorboard, "hparams")):
            patched.setattr(module, name, fail)
        train("--name", "plain")
    shown = capsys.readouterr()
    assert [line for line in shown.err.splitlines() if "failed" in line] == [
        f"{what} failed: ValueError: of a name; the rest was written"
        for what in ("printing the table", "rendering the pictures", "TensorBoard's graph", "TensorBoard's HParams page")]
    found = results("plain")
    assert found["metrics"]["accuracy"] >= 0 and pathlib.Path(found["export"], "saved_model.pb").is_file()
    assert "\npredict " in shown.out and "pictures" in found["seconds"]
    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "table", fail)
        cli.main("apps.classification", ["evaluate", "plain", "--resamples", "0"])
    shown = capsys.readouterr()
    assert "printing the table failed" in shown.err and "written to" in shown.out


@pytest.mark.parametrize("stop, code", [(lambda: os.kill(os.getpid(), signal.SIGTERM), 143), (lambda: signal.raise_signal(signal.SIGINT), 130)])
def test_who_stops_the_pictures_is_told_that_the_run_is_complete(capsys, interruptible, stop, code):
    with pytest.raises(SystemExit) as ended, flow._leaving_complete():
        stop()
    said = capsys.readouterr().err
    assert ended.value.code == code and "stopped; the results and the export were already written" in said and "--resume" not in said


def test_printed_commands_name_the_folder_of_the_exports(folder, capsys):
    app, version = App("classification"), pathlib.Path("my exports", "classification", "1")
    found = {"metrics": {"accuracy": 0.5}, "seconds": {"total": 2.0, "train": 1.0}}
    for saved_models, said in (("my exports", "predict --saved-models 'my exports' FILE"), ("saved_models", "predict FILE")):
        showing.farewell(app, app.config("softmax", saved_models=saved_models), pathlib.Path("runs/x"), version, found)
        line, = [line for line in capsys.readouterr().out.splitlines() if line.startswith("predict ")]
        assert said in line


def test_runs_that_begin_in_the_same_second_get_numbers(folder, monkeypatch):
    monkeypatch.setattr(settings, "folder_name", lambda name, model: name or f"20260101-120000-{model}")
    monkeypatch.setattr(flow, "_train", lambda app, config, strategy, folder, chief: folder)
    app = App("classification")
    found = [flow.train(app, app.config("softmax", seed=seed)) for seed in (0, 1, 2)]
    assert [path.name for path in found] == [f"20260101-120000-softmax{number}" for number in ("", "-2", "-3")]
    assert [settings.load(app.systems, path / "config.json").seed for path in found] == [0, 1, 2]


def test_weights_of_another_model_are_refused_and_some_that_fit_are_counted(folder, capsys):
    train("--name", "small")
    capsys.readouterr()
    said = refused(capsys, "--model", "lenet5", "--limit-steps", "1", "--initialize", "small", "--name", "other")
    assert "fit this network" in said
    train("--initialize", "small", "--name", "next")
    said = capsys.readouterr().out
    assert "starting from" in said and "stay as they are" not in said


def test_files_without_an_answer_end_with_code_2_and_the_others_are_answered(folder, capsys):
    train("--name", "small")
    (folder / "cut.png").write_bytes(tf.io.encode_png(np.zeros((8, 8, 3), np.uint8)).numpy()[:40])
    (folder / "good.png").write_bytes(tf.io.encode_png(np.zeros((8, 8, 3), np.uint8)).numpy())
    capsys.readouterr()
    said = refused(capsys, "predict", "cut.png", "good.png")
    assert "1 of 2 predictions failed; the first error: the PNG decoder rejects this file" in said
    assert json.loads((folder / "predictions" / "good.json").read_text())["classes"]


def write_images(name, classes, largest=256):
    random = np.random.default_rng(0)
    for part, count in (("train", 8), ("val", 1), ("test", 2)):
        for place, number in np.ndindex(len(classes), count):
            path = pathlib.Path(name, part, classes[place], f"{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tf.io.encode_png(random.integers(0, largest, (12, 12, 3), np.uint8)).numpy())


def test_another_set_of_the_same_classes_is_evaluated_on(folder, capsys):
    write_images("own", ["cat", "dog"])
    write_images("darker", ["cat", "dog"], 100)
    write_images("others", ["cat", "fox"])
    of_folder = ["--data-dir", "prepared", "--dataset", "image_folder", "--manual-dir"]
    train("--name", "small", "--epochs", "1", "--batch-size", "8", *of_folder, "own")
    cli.main("apps.classification", ["evaluate", "small", *of_folder, "darker"])
    kept = json.loads((folder / "runs/classification/small/evaluation-image_folder.json").read_text())
    assert 0 <= kept["metrics"]["accuracy"] <= 1
    capsys.readouterr()
    assert "the class names of image_folder differ" in refused(capsys, "evaluate", "small", *of_folder, "others")

    def accuracy():
        cli.main("apps.classification", ["evaluate", "small", "--resamples", "0"])
        return json.loads((folder / "runs/classification/small/evaluation-image_folder.json").read_text())["metrics"]["accuracy"]

    kept_in = folder / "runs/classification/small/evaluation-image_folder.json"
    kept_in.unlink()
    kept_in.mkdir()  # in whose place nothing can be written, as in a folder of another user
    capsys.readouterr()
    with pytest.raises(SystemExit):
        cli.main("apps.classification", ["evaluate", "small", "--resamples", "0"])
    said = capsys.readouterr()
    assert "accuracy" in said.out and "the metrics cannot be written to" in said.err
    kept_in.rmdir()

    before, path = accuracy(), folder / "runs/classification/small/spec.json"
    spec = json.loads(path.read_text())
    spec["info"]["class_names"].reverse()  # as if the run had learned them in this order
    path.write_text(json.dumps(spec))
    assert accuracy() == 1 - before and "matched by name" in capsys.readouterr().out


def test_a_run_does_not_go_on_with_other_classes_or_examples(folder, monkeypatch, capsys):
    write_images("own", ["bus", "car"])
    of_folder = ["--data-dir", "prepared", "--dataset", "image_folder", "--manual-dir", "own", "--batch-size", "8"]
    with monkeypatch.context() as patched:
        stop_in(patched, evaluation, "evaluate", KeyboardInterrupt())
        with pytest.raises(SystemExit):
            train("--name", "r1", *of_folder)
    capsys.readouterr()
    before = (folder / "runs/classification/r1/spec.json").read_text()
    for part in ("train", "val", "test"):
        (folder / "own" / part / "bus").rename(folder / "own" / part / "zug")
    assert "image_folder has changed since r1 was started (different class names)" in refused(capsys, "--resume")
    for part in ("train", "val", "test"):
        (folder / "own" / part / "zug").rename(folder / "own" / part / "bus")
    added = folder / "own" / "test" / "bus" / "9.png"
    added.write_bytes((folder / "own" / "test" / "bus" / "1.png").read_bytes())
    assert "image_folder has changed since r1 was started (different examples)" in refused(capsys, "--resume")
    assert (folder / "runs/classification/r1/spec.json").read_text() == before
    added.unlink()
    one, other = (folder / "own" / "train" / name / "0.png" for name in ("bus", "car"))
    contents = one.read_bytes(), other.read_bytes()
    for path, content in zip((one, other), reversed(contents)):  # as many examples with as many bytes
        path.write_bytes(content)
    assert "has changed since r1 was started (different examples)" in refused(capsys, "--resume")
    for path, content in zip((one, other), contents):
        path.write_bytes(content)
    resume()
    assert results("r1")["export"]


def test_what_is_asked_is_checked_before_tensorflow_is_there():
    with pytest.raises(UserError, match="multi_worker needs --name"):
        runs.new("classification", App("classification").config(strategy="multi_worker"))
    for place in ("runs", "saved_models", "data_dir", "name"):
        with pytest.raises(UserError, match="TensorFlow cannot write to .*caf.udce9', whose name is not UTF-8"):
            runs.new("classification", App("classification").config(**{place: "caf\udce9"}))


def test_where_no_export_can_be_made_no_training_begins(folder, capsys):
    (folder / "file").touch()
    assert f"no export can be made in file/classification: {folder / 'file'} is no folder" in refused(
        capsys, *TINY, "--saved-models", "file")
    assert not (folder / "runs").exists()


def test_damaged_weights_are_refused_with_their_file(folder, capsys):
    train("--name", "small")
    weights = folder / "runs" / "classification" / "small" / "best.weights.h5"
    content = weights.read_bytes()
    for damaged in (content[:100], content.replace(b"HEAP", b"HEAD"), b"no weights"):
        weights.write_bytes(damaged)
        capsys.readouterr()
        for arguments in (["evaluate", "small"], [*TINY, "--initialize", "small", "--name", "next"]):
            assert f"the weights in {weights.relative_to(folder)} cannot be read: " in refused(capsys, *arguments)
