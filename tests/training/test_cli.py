"""The command line: what it passes on, and what it refuses in one sentence."""
import dataclasses
import errno
import io
import os
import pathlib
import subprocess
import sys
import types

import pytest

import training
from tests import help_page
from training import UserError, cli, config
from training.app import App

DETECTION = App("detection")
ROOT = pathlib.Path(__file__).parents[2]


def save(settings, path):
    path.write_text(config.dumps(settings))


@pytest.fixture
def ran(monkeypatch):
    """Takes the place of training.run and training.summary: keeps what the verbs are called with."""
    calls = []
    for name, verbs in (("run", {"train": "train", "evaluate": "evaluate", "predict": "predict"}), ("summary", {"show": "summary"})):
        module = types.ModuleType(f"training.{name}")
        for function, verb in verbs.items():
            setattr(module, function, lambda app, *request, verb=verb: calls.append((verb, app.task, *request)))
        monkeypatch.setitem(sys.modules, f"training.{name}", module)
        monkeypatch.setattr(training, name, module, raising=False)
    monkeypatch.setattr(cli, "_check", lambda *_: None)  # no run nor file is there
    return calls


@pytest.fixture
def refused(capsys, ran):
    """Runs arguments that must be refused and returns the sentence."""
    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main("apps.detection", list(arguments))
        assert ended.value.code == 2 and not ran
        shown = capsys.readouterr()
        assert shown.out == "" and shown.err.startswith("error: ") and shown.err.count("\n") == 1
        return shown.err.removeprefix("error: ").strip()
    return run


@pytest.mark.parametrize("verb", ["", "train", "summary"])
def test_a_verb_gets_the_resolved_settings(ran, verb):
    cli.main("apps.detection", [verb, "--seed", "3"] if verb else [])
    assert ran == [(verb or "train", "detection", DETECTION.config(seed=3 if verb else 0))]


def test_evaluate_and_predict(ran):
    cli.main("apps.detection", ["evaluate"])
    cli.main("apps.detection", ["evaluate", "some/run", "--dataset", "bccd", "--resamples", "7"])
    cli.main("apps.detection", ["predict", "a.jpg", "b.png", "--server", "localhost:8500"])
    assert [call[2] for call in ran] == [cli.Evaluate(), cli.Evaluate(run="some/run", dataset="bccd", resamples=7),
                                         cli.Predict(inputs=("a.jpg", "b.png"), server="localhost:8500")]


@pytest.mark.parametrize("form", [["--config", "{}"], ["--config={}"]])
def test_flags_change_the_settings_of_a_file(ran, tmp_path, form):
    kept = DETECTION.config("retinanet", epochs=5, seed=4, name="before", resume=True)
    save(kept, tmp_path / "config.json")
    cli.main("apps.detection", ["--epochs", "2", *[part.format(tmp_path / "config.json") for part in form], "--batch-size", "3"])
    # the name and the wish to resume were the other run's
    assert ran[0][2] == dataclasses.replace(kept, epochs=2, batch_size=3, name=None, resume=False)


def test_a_file_alone_gives_the_same_run(ran, tmp_path):
    kept = DETECTION.config("retinanet", dataset="bccd", learning_rate=0.003)
    save(kept, tmp_path / "config.json")
    cli.main("apps.detection", ["--config", str(tmp_path / "config.json")])
    assert ran[0][2] == kept


def test_a_file_of_one_system_with_another_one_chosen(refused, tmp_path):
    save(DETECTION.config("faster_rcnn"), tmp_path / "config.json")
    assert "'proposals'; it belongs to faster_rcnn, not to retinanet" in refused(
        "--config", str(tmp_path / "config.json"), "--model", "retinanet")


def test_settings_that_cannot_be(refused, tmp_path):
    (tmp_path / "config.json").write_text('{"batch_sise": 1}')
    assert "did you mean 'batch_size'?" in refused("--config", str(tmp_path / "config.json"))
    assert refused("--config", str(tmp_path / "none.json")).startswith("cannot read settings from")
    assert refused("--config") == refused("--config=") == "--config needs a file name"
    assert refused("--batch-size", "0") == "--batch-size must be 1 or more, got 0"
    assert refused("--model", "retinanet", "--proposals", "9") == "--proposals is not a setting of retinanet; it belongs to faster_rcnn"
    assert refused("--model=keras_cv_retinanet", "--backbone", "small") == (
        "--backbone is not a setting of keras_cv_retinanet; it belongs to faster_rcnn, retinanet, yolo, ssd, rcnn, fast_rcnn")
    assert refused("--batch-sise", "1") == "--batch-sise is not a setting of faster_rcnn; did you mean --batch-size?"
    assert refused("--qqqq") == "--qqqq is not a setting of faster_rcnn; --help lists all settings"
    assert refused("--model", "retinanett") == "there is no system 'retinanett'; did you mean retinanet?"
    assert refused("--model", "huge") == (
        "there is no system 'huge'; choose one of faster_rcnn, retinanet, keras_cv_retinanet, yolo, ssd, sliding_window, rcnn, fast_rcnn")


@pytest.mark.parametrize("flags, augment", [
    (["--augment"], True), (["--no-augment"], False), (["--augment", "True"], True), (["--augment", "False"], False),
    (["--augment=false"], False), (["--augment=true"], True), ([], True)])
def test_booleans_are_flags_and_take_a_value_too(ran, flags, augment):
    cli.main("apps.detection", [*flags, "--batch_size", "3"])
    assert ran[0][2] == DETECTION.config(augment=augment, batch_size=3)


@pytest.mark.parametrize("flags, settings", [
    ([], {}), (["--model", "retinanet", "--dataset", "bccd"], dict(model="retinanet", dataset="bccd")),
    (["--model=retinanet", "--dataset=bccd", "--epochs", "2"], dict(model="retinanet", dataset="bccd", epochs=2))])
def test_help_shows_the_values_that_will_be_used(ran, capsys, flags, settings):
    with pytest.raises(SystemExit) as ended:
        cli.main("apps.detection", [*flags, "--help"])
    assert ended.value.code == 0 and not ran
    shown = capsys.readouterr().out
    values, defaults = dataclasses.asdict(DETECTION.config(**settings)), help_page.defaults(shown)
    for name in ("learning_rate", "image_size", "max_objects", "batch_size", "pyramid_filters", "model", "dataset"):
        if name not in settings or name in ("model", "dataset"):
            assert defaults[config.flag(name)] == str(values[name]), name
    assert all(f"{group} options" in shown for group in ("data", "training", "run", values["model"].replace("_", "-")))
    assert ("--proposals" in defaults) == (values["model"] == "faster_rcnn")
    assert ("--head-layers" in defaults) == (values["model"] == "retinanet")


@pytest.mark.parametrize("flags", [[], ["--model", "retinanet", "--dataset", "bccd", "--no-augment", "--anchor-ratios", "1", "2"]])
def test_printed_settings_give_the_same_run(ran, capsys, tmp_path, flags):
    cli.main("apps.detection", [*flags, "--print-config"])
    assert not ran
    (tmp_path / "config.json").write_text(capsys.readouterr().out)
    cli.main("apps.detection", ["--config", str(tmp_path / "config.json")])
    cli.main("apps.detection", flags)
    assert ran[0] == ran[1]


def test_resume_takes_no_other_settings(refused, ran, tmp_path):
    sentence = "--resume continues with the run's own settings: leave out "
    # also where the value is the default: the run's own may be another
    assert refused("--resume", "--seed", "0", "--batch_size=4") == f"{sentence}--seed, --batch_size"
    save(DETECTION.config(), tmp_path / "config.json")
    assert refused("--resume", "--config", str(tmp_path / "config.json")) == f"{sentence}--config"
    cli.main("apps.detection", ["--resume", "--name", "mine", "--runs", "elsewhere"])
    assert ran[0][2] == DETECTION.config(resume=True, name="mine", runs="elsewhere")


@pytest.mark.parametrize("error, sentence", [
    (UserError("do this"), "do this"),
    (OSError(errno.ENOSPC, "No space left on device", "runs/a/x"), "the disk is full (runs/a/x): free some space, then continue with --resume"),
    (RuntimeError("; No space left on device [Op:SaveV2]"), "the disk is full (while writing): free some space"),
    (PermissionError(errno.EACCES, "Permission denied", "runs/x"), "Permission denied: runs/x"),
    (OSError("Unable to synchronously create file (unable to lock file, errno = 37)"),
     "this file system does not support the file locks of HDF5"),
    (ValueError("first line\nsecond line"), "ValueError: first line (--debug shows the traceback)"),
    (RuntimeError(), "RuntimeError:  (--debug shows the traceback)"),
])
def test_an_error_of_the_run_is_one_sentence(monkeypatch, capsys, ran, error, sentence):
    def fail(*_):
        raise error
    monkeypatch.setattr(training.run, "train", fail)
    with pytest.raises(SystemExit) as ended:
        cli.main("apps.detection", [])
    shown = capsys.readouterr()
    assert ended.value.code == 2 and shown.err.startswith(f"error: {sentence}") and shown.err.count("\n") == 1
    with pytest.raises(type(error)):  # --debug lets it through, with its traceback
        cli.main("apps.detection", ["--debug"])


def test_stopping_by_hand_says_how_to_go_on(monkeypatch, capsys, ran):
    def stop(*_):
        raise KeyboardInterrupt
    monkeypatch.setattr(training.run, "train", stop)
    monkeypatch.setattr(training.run, "predict", stop)
    for arguments, said in ([], True), (["predict", "a.jpg"], False):
        with pytest.raises(SystemExit) as ended:
            cli.main("apps.detection", arguments)
        assert ended.value.code == 130 and ("--resume" in capsys.readouterr().err) == said


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_no_character_that_an_output_cannot_show_ends_the_program(monkeypatch, encoding):
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding))
    with cli.sentences():
        print("FILE… größer \udcff")
    assert shown.getvalue() == {
        "latin-1": b"FILE\\u2026 gr\xf6\xdfer \\udcff\n", "ascii": b"FILE\\u2026 gr\\xf6\\xdfer \\udcff\n",
        "utf-8": "FILE… größer \\udcff\n".encode()}[encoding]


def test_exit_codes_of_the_program_are_kept(monkeypatch, ran):
    def end(*_):
        sys.exit(143)
    monkeypatch.setattr(training.run, "train", end)
    with pytest.raises(SystemExit) as ended:
        cli.main("apps.detection", [])
    assert ended.value.code == 143


@pytest.mark.parametrize("arguments, sentence", [
    (["--epochs", "0"], "error: --epochs must be 1 or more, got 0\n"),
    (["predict"], "error: predict needs one or more file names\n"),
    (["evaluate", "--resamples", "-5"], "error: --resamples must be 0 or more, got -5\n"),
    (["--model", "retinanett"], "error: there is no system 'retinanett'; did you mean retinanet?\n"), (["--epochs", "many"], None),
    (["--batch-sise", "1"], "error: --batch-sise is not a setting of faster_rcnn; did you mean --batch-size?\n"),
])
def test_as_a_program(repository, arguments, sentence):
    ended = subprocess.run([sys.executable, "-m", "apps.detection", *arguments], cwd=repository, capture_output=True,
                           text=True, timeout=60)
    assert ended.returncode == 2 and ended.stdout == "" and "Traceback" not in ended.stderr
    assert ended.stderr == sentence if sentence else "--help" in ended.stderr
    if sentence:
        shown = subprocess.run([sys.executable, "-m", "apps.detection", *arguments, "--debug"], cwd=repository,
                               capture_output=True, text=True, timeout=60)
        assert shown.returncode == 1 and "Traceback" in shown.stderr and "UserError" in shown.stderr


@pytest.mark.parametrize("verb", ["--help", "evaluate"])
def test_a_closed_output_ends_nothing(tmp_path, verb):
    ended = subprocess.run(["sh", "-c", f'exec "{sys.executable}" -m apps.classification {verb} --runs none <&- >&-'],
                           stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=tmp_path)
    assert ended.returncode == (0 if verb == "--help" else 2) and "AttributeError" not in ended.stderr


def test_a_full_disk_is_no_reason_to_resume_what_cannot_be(capsys):
    with pytest.raises(SystemExit), cli.sentences():
        raise OSError(errno.ENOSPC, "No space left on device", "predictions/a.json")
    assert capsys.readouterr().err == "error: the disk is full (predictions/a.json): free some space, then try again\n"
