"""What an experiment leaves: its numbers first, then what is only shown."""
import json

import matplotlib.figure

import training
from training import config, reports
from training.app import App

APP = App("foundations")


def plain():
    figure = matplotlib.figure.Figure((2, 2))
    figure.add_subplot().set_title("$5 and $10")
    return figure


def broken():
    raise ValueError("of a name")


def keep(request, **figures):
    folder = reports.folder_of(APP, "study", request)
    return reports.keep(folder, "study", request, {"value": 1}, figures, {"study": "text"}, trials={"a": ({"c": 1}, {"loss": 0.5})})


def test_a_picture_that_fails_costs_nothing_else(tmp_path, capsys):
    keep(training.Experiment(runs=str(tmp_path), name="mine"), first=broken, second=plain)
    folder = tmp_path / "foundations" / "mine"
    assert json.loads((folder / "study.json").read_text())["value"] == 1
    assert [path.name for path in (folder / "pictures").iterdir()] == ["second.png"]
    assert list((folder / "a").rglob("events*"))
    said = capsys.readouterr()
    assert "the picture first failed: ValueError: of a name; the rest was written" in said.err and "study.json" in said.out


def test_experiments_that_end_in_the_same_second_get_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "folder_name", lambda name, verb: name or f"20260101-120000-{verb}")
    request = training.Experiment(runs=str(tmp_path))
    folders = [reports.folder_of(APP, "study", request) for _ in range(2)]  # both before one is made
    for folder in folders:
        reports.keep(folder, "study", request, {}, {})
    assert sorted(path.name for path in (tmp_path / "foundations").iterdir()) == ["20260101-120000-study", "20260101-120000-study-2"]
