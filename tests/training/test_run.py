"""The flow of a run: what it leaves when it is stopped or refused, and with what it goes on."""
import json
import os
import pathlib
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.classification import evaluation
from training import UserError, cli, runs
from training.app import App
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
    assert "clients of" in refused(capsys, "--resume")  # as before
    resume("--saved-models", "elsewhere")
    assert results("second")["export"].startswith("elsewhere")


def test_a_run_that_could_not_begin_leaves_no_folder(folder, monkeypatch, capsys):
    stop_in(monkeypatch, keras.Model, "compile", ValueError("of a setting"))
    refused(capsys, *TINY, "--name", "bad")
    assert not (folder / "runs" / "classification" / "bad").exists()


def test_a_termination_outside_of_the_loop_says_how_to_go_on(folder, monkeypatch, capsys):
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "table", lambda metrics: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(SystemExit) as ended:
            train("--name", "stopped")
    assert ended.value.code == 143 and "go on with --resume" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before
    resume()
    assert results("stopped")["metrics"]["accuracy"] >= 0


def test_weights_of_another_model_are_refused_and_some_that_fit_are_counted(folder, capsys):
    train("--name", "small")
    capsys.readouterr()
    said = refused(capsys, "--model", "lenet5", "--limit-steps", "1", "--initialize", "small", "--name", "other")
    assert "fits this network" in said
    train("--initialize", "small", "--name", "next")
    said = capsys.readouterr().out
    assert "starting from" in said and "stay as they are" not in said


def test_files_without_an_answer_end_with_code_2_and_the_others_are_answered(folder, capsys):
    train("--name", "small")
    (folder / "cut.png").write_bytes(tf.io.encode_png(np.zeros((8, 8, 3), np.uint8)).numpy()[:40])
    (folder / "good.png").write_bytes(tf.io.encode_png(np.zeros((8, 8, 3), np.uint8)).numpy())
    capsys.readouterr()
    said = refused(capsys, "predict", "cut.png", "good.png")
    assert "no answer for 1 of 2: the PNG decoder refuses this file" in said
    assert json.loads((folder / "predictions" / "good.json").read_text())["classes"]


def test_another_set_of_the_same_classes_is_evaluated_on(folder, capsys):
    def pictures(name, classes, largest):
        random = np.random.default_rng(0)
        for part, count in (("train", 8), ("val", 1), ("test", 2)):
            for place, number in np.ndindex(len(classes), count):
                path = folder / name / part / classes[place] / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(tf.io.encode_png(random.integers(0, largest, (12, 12, 3), np.uint8)).numpy())

    pictures("own", ["cat", "dog"], 256)
    pictures("darker", ["cat", "dog"], 100)
    pictures("others", ["cat", "fox"], 256)
    of_folder = ["--data-dir", "prepared", "--dataset", "image_folder", "--manual-dir"]
    train("--name", "small", "--epochs", "1", "--batch-size", "8", *of_folder, "own")
    cli.main("apps.classification", ["evaluate", "small", *of_folder, "darker"])
    kept = json.loads((folder / "runs/classification/small/evaluation-image_folder.json").read_text())
    assert 0 <= kept["metrics"]["accuracy"] <= 1
    capsys.readouterr()
    assert "other class names" in refused(capsys, "evaluate", "small", *of_folder, "others")


def test_what_is_asked_is_checked_before_tensorflow_is_there():
    with pytest.raises(UserError, match="multi_worker needs --name"):
        runs.new("classification", App("classification").config(strategy="multi_worker"))


def test_damaged_weights_are_refused_with_their_file(folder, capsys):
    train("--name", "small")
    weights = folder / "runs" / "classification" / "small" / "best.weights.h5"
    content = weights.read_bytes()
    for damaged in (content[:100], content.replace(b"HEAP", b"HEAD"), b"no weights"):
        weights.write_bytes(damaged)
        capsys.readouterr()
        for arguments in (["evaluate", "small"], [*TINY, "--initialize", "small", "--name", "next"]):
            assert f"the weights in {weights.relative_to(folder)} cannot be read: " in refused(capsys, *arguments)
