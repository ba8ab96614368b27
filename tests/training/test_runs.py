"""Runs and exports: listed, compared and pruned, whatever their files hold."""
import fcntl
import json
import os
import re

import pytest

from training import UserError, config, pruning, runs
from training.app import App


@pytest.fixture
def made(tmp_path):
    """Makes a run's folder and returns it; the later it is made, the newer it is."""
    def make(name, config=None, results=None, app="detection", checkpoints=0):
        folder = tmp_path / "runs" / app / name
        folder.mkdir(parents=True)
        for file, content in (("config.json", config), ("results.json", results)):
            if content is not None:
                (folder / file).write_text(content if isinstance(content, str) else json.dumps(content))
                os.utime(folder / file, (made.clock, made.clock))
        made.clock += 60
        (folder / "checkpoints").mkdir()
        for step in range(checkpoints):
            (folder / "checkpoints" / f"epoch-00001-step-{step:08}.npz").write_bytes(b"x" * 1000)
        return folder
    made.clock = 1_700_000_000
    return make


@pytest.fixture
def say(tmp_path, capsys):
    """Runs `python -m apps runs …` on the folders of the test and returns what it prints."""
    def run(*arguments):
        exports = ["--saved-models", str(tmp_path / "saved_models")] if "prune" in arguments else []
        runs.main([*arguments, "--runs", str(tmp_path / "runs"), *exports])
        return capsys.readouterr().out
    return run


CONFIG = {"model": "retinanet", "dataset": "bccd", "seed": 3, "epochs": 2, "learning_rate": 0.01, "name": None}
RESULTS = {"metrics": {"ap": 0.71234567, "ap50": 0.9, "per_class": {"cell": 0.5}}, "seconds": {"train": 100.4, "test": 20}}


def test_list_is_newest_first_and_complete(made, say):
    made("first", CONFIG, RESULTS)
    made("second", CONFIG | {"seed": 4}, RESULTS | {"metrics": {}, "seconds": {"train": 7, "total": 9.6}})
    made("third", {"model": "lenet", "dataset": "mnist", "seed": 0}, {"metrics": {"accuracy": 1}}, app="classification")
    head, *rows = [re.split(r"\s{2,}", line) for line in say("list").splitlines()]
    assert head == ["app", "run", "model", "data set", "seed", "result", "seconds", "state", "started"]
    assert [row[:8] for row in rows] == [
        ["classification", "third", "lenet", "mnist", "0", "accuracy 1", "-", "finished"],
        ["detection", "second", "retinanet", "bccd", "4", "-", "10", "finished"],
        ["detection", "first", "retinanet", "bccd", "3", "ap 0.7123", "120", "finished"]]
    assert say() == say("list") and "third" not in say("--app", "detection")


def test_a_run_without_results_is_unfinished(made, say):
    made("stopped", CONFIG)
    assert re.split(r"\s{2,}", say("list").splitlines()[1])[5:8] == ["-", "-", "unfinished"]


def test_a_run_without_its_export_is_one_to_go_on_with(made, say, tmp_path):
    folder = made("done", CONFIG, RESULTS | {"export": None}, app="detection")
    assert "not exported" in say("list")
    wanted = App("detection").config(runs=str(tmp_path / "runs"))
    (folder / "config.json").write_text(config.dumps(wanted))
    assert runs.unfinished("detection", wanted)[0] == folder
    (folder / "results.json").write_text(json.dumps(RESULTS | {"export": "saved_models/detection/1"}))
    assert "finished" in say("list")
    with pytest.raises(UserError, match="no unfinished run"):
        runs.unfinished("detection", wanted)


def test_commands_that_are_named_are_complete(tmp_path):
    with pytest.raises(UserError, match=f"`python -m apps runs --runs {tmp_path}` lists them"):
        runs.find("nothing", str(tmp_path))


def test_no_runs_yet(say):
    assert say("list").startswith("no runs in ")


@pytest.mark.parametrize("content", [
    "", "{", "[1, 2]", "null", "[" * 100_000, '{"model": ' + "9" * 5000 + "}", "\ud800",
    '{"model": {"a": [1]}, "dataset": null, "seed": 1e999, "metrics": 5, "seconds": "long"}',
    '{"model": "\\u001b[31m\\nred", "metrics": {"ap": NaN, "x": [1]}, "seconds": {"train": ' + "9" * 400 + "}}",
    '{"metrics": {"\\u001b]0;title\\u0007": "' + "x" * 5000 + '"}, "seconds": [1], "seed": true}',
])
@pytest.mark.parametrize("which", ["config", "results"])
def test_a_file_with_anything_in_it_is_listed(made, say, content, which):
    content = content.encode("utf-8", "surrogatepass").decode("latin-1") if content == "\ud800" else content
    made("sound", CONFIG, RESULTS)
    made("other", **({"config": CONFIG, "results": RESULTS} | {which: content}))
    shown = say("list")
    assert len(shown.splitlines()) == 3 and "ap 0.7123" in shown and len(max(shown.splitlines(), key=len)) < 400
    assert not [letter for letter in shown if not letter.isprintable() and letter != "\n"]
    assert ("broken: " in shown) == (not content.startswith("{") or content == "{" or "9" * 5000 in content)


def test_files_that_are_no_files(made, say, tmp_path):
    folder = made("odd", CONFIG)
    (folder / "results.json").mkdir()
    (tmp_path / "runs" / "stray.txt").write_text("x")
    (tmp_path / "runs" / "detection" / "stray.txt").write_text("x")
    (tmp_path / "runs" / "detection" / "study").mkdir()  # what an experiment leaves is no run
    (tmp_path / "runs" / "detection" / "study" / "study.json").write_text("{}")
    (tmp_path / "runs" / "detection" / "half").mkdir()
    (tmp_path / "runs" / "detection" / "half" / "results.json").write_text("{}")
    shown = say("list")
    assert "broken: results.json is not a file" in shown and "broken: no config.json" in shown
    assert len(shown.splitlines()) == 3


def test_a_file_that_is_too_large_is_not_read(made, say, monkeypatch):
    monkeypatch.setattr(runs, "LARGEST_FILE", 50)
    made("large", CONFIG)
    assert "broken: config.json is too large" in say("list")


def test_a_run_that_is_held_shows_as_running(made, say):
    folder = made("held", CONFIG)
    with open(folder / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "running" in say("list") and runs.in_use(folder)
    assert "unfinished" in say("list") and not runs.in_use(folder)


def test_the_lock_is_the_one_that_training_takes(made):
    from training.engine import files

    folder = made("held", CONFIG)
    with files.lock(folder):
        assert runs.in_use(folder)
    assert not runs.in_use(folder)


def test_compare_shows_what_differs(made, say):
    made("first", CONFIG, RESULTS)
    second = made("second", CONFIG | {"learning_rate": 0.1, "extra": 1, "name": "second"}, {"metrics": {"ap": 0.5, "ar": 1}})
    rows = {line.split()[0]: line.split()[1:] for line in say("compare", "first", str(second)).splitlines()[1:] if line}
    assert rows == {"learning_rate": ["0.01", "0.1"], "extra": ["-", "1"], "ap": ["0.7123", "0.5"], "ap50": ["0.9", "-"],
                    "ar": ["-", "1"], "seconds": ["120", "-"]}
    made("third", CONFIG, RESULTS)
    assert "no settings differ" in say("compare", "first", "third")


def test_compare_refuses(made, say, tmp_path):
    made("first", CONFIG, RESULTS)
    made("first", CONFIG, RESULTS, app="localization")
    made("second", CONFIG, RESULTS)
    made("broken", "{")
    for arguments, words in ((["second"], "two or more"), (["second", "secund"], "there is no run secund .* mean second?"),
                             (["second", "first"], "several applications have a run first: .*detection"),
                             (["second", "broken"], "cannot be compared: config.json cannot be read"),
                             (["second", "../../etc"], "there is no run"), (["second", "*"], "there is no run")):
        with pytest.raises(UserError, match=words):
            say("compare", *arguments)


def exports(tmp_path, model, *names):
    for name in names:
        (tmp_path / "saved_models" / model / name).mkdir(parents=True)
        (tmp_path / "saved_models" / model / name / "saved_model.pb").write_bytes(b"x" * 500)


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_prune_keeps_the_newest_and_only_tells_unless_yes(made, say, tmp_path):
    folder = made("first", CONFIG, checkpoints=4)
    (folder / "checkpoints" / "notes.npz").write_bytes(b"x")
    # as numbers, not as words; nothing that is no version, is not older, or is a link
    exports(tmp_path, "detection", "2", "9", "10", "11", "latest", "1.tmp", "best-3")
    exports(tmp_path, "detection-cells", "1", "2", "3")
    (tmp_path / "saved_models" / "detection" / "1").symlink_to(tmp_path / "saved_models" / "detection" / "11")
    (tmp_path / "saved_models" / "models.config").write_text("x")
    before = sorted(tmp_path.rglob("*"))
    told = say("prune", "--keep", "2")
    assert sorted(tmp_path.rglob("*")) == before
    assert "4 kB can be removed: add --yes" in told and told.count("old ") == 5
    assert "4 kB removed" in say("prune", "--keep", "2", "--yes")
    assert left(folder / "checkpoints") == ["epoch-00001-step-00000002.npz", "epoch-00001-step-00000003.npz", "notes.npz"]
    assert left(tmp_path / "saved_models" / "detection") == ["1", "1.tmp", "10", "11", "best-3", "latest"]
    assert left(tmp_path / "saved_models" / "detection-cells") == ["2", "3"]
    assert say("prune", "--keep", "2", "--yes") == "nothing to remove\n"


def test_prune_of_one_application_leaves_the_others(made, say, tmp_path):
    mine, other = made("a", CONFIG, checkpoints=2), made("b", CONFIG, app="detection2", checkpoints=2)
    for model in ("detection", "detection-cells", "detection2"):
        exports(tmp_path, model, "1", "2")
    say("prune", "--keep", "1", "--yes", "--app", "detection")
    assert (len(left(mine / "checkpoints")), len(left(other / "checkpoints"))) == (1, 2)
    assert [left(tmp_path / "saved_models" / model) for model in ("detection", "detection-cells", "detection2")] == [
        ["2"], ["2"], ["1", "2"]]


def test_prune_leaves_a_run_that_is_in_use(made, say):
    folder = made("held", CONFIG, checkpoints=3)
    with open(folder / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "in use" in say("prune", "--keep", "1", "--yes")
        assert len(left(folder / "checkpoints")) == 3
    say("prune", "--keep", "1", "--yes")
    assert left(folder / "checkpoints") == ["epoch-00001-step-00000002.npz"]


def test_prune_never_removes_the_newest(made, say, tmp_path):
    folder = made("a", CONFIG, checkpoints=1)
    exports(tmp_path, "detection", "7")
    for keep in ("0", "-1"):
        with pytest.raises(UserError, match="--keep must be at least 1"):
            say("prune", "--keep", keep, "--yes")
    say("prune", "--keep", "1", "--yes")
    assert len(left(folder / "checkpoints")) == 1 and left(tmp_path / "saved_models" / "detection") == ["7"]


def test_an_export_is_never_half_there(say, tmp_path, monkeypatch):
    exports(tmp_path, "detection", "1", "2")
    seen = []

    def remove(folder, ignore_errors=False):
        seen.append((folder.name, left(tmp_path / "saved_models" / "detection")))
    monkeypatch.setattr(pruning.shutil, "rmtree", remove)
    say("prune", "--keep", "1", "--yes")
    assert seen[-1] == ("removed-1", ["2", "removed-1"])


def test_numbers_and_sizes():
    assert [pruning._size(size) for size in (0, 999, 1000, 2.5e6, 4e12)] == ["0 B", "999 B", "1 kB", "2 MB", "4000.0 GB"]
    assert runs.clean(0.123456) == "0.1235" and runs.clean(None) == "-" and runs.clean(True) == "True"
