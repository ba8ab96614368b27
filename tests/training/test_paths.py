"""Paths that users give: `~` in every one of them, and users without a home folder."""
import dataclasses
import importlib
import os
import pwd
import tempfile
import typing

import pytest

import training
from apps.__main__ import catalogue
from training import UserError, cli, config, doctor, forms, paths, pruning, records, runs, tables
from training.app import App
from training.data import sources

OTHERS = [cli.Evaluate, cli.Predict, doctor.Doctor, records.Record, runs.Compare, runs.List, pruning.Prune, tables.Tables]
KINDS = OTHERS + [kind for app in catalogue().values() for kind in (*app.systems.values(), *app.verbs.values())]
EXPANDED_LATER = {"data_dir", "manual_dir"}
"""settings that a run keeps with their ~, so that another user can go on with it; `training.data.sources` expands them"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return str(tmp_path)


@pytest.fixture
def no_home(monkeypatch):
    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_every_setting_that_names_a_folder_or_file_is_a_path():
    for kind in KINDS:
        hints = typing.get_type_hints(kind, include_extras=True)
        for name, words in forms.docs(kind).items():
            if name in hints and ("folder" in words or "file" in words) and name not in {"name", "dataset", *EXPANDED_LATER}:
                assert paths.IsPath() in getattr(hints[name], "__metadata__", ()), f"{kind.__name__}.{name}"


@pytest.mark.parametrize("kind", OTHERS)
def test_a_tilde_is_the_home_folder(home, kind):
    for field in dataclasses.fields(kind):
        if paths.IsPath() in getattr(typing.get_type_hints(kind, include_extras=True)[field.name], "__metadata__", ()):
            required = {each.name: 1 for each in dataclasses.fields(kind) if each.default is dataclasses.MISSING and each.type is int}
            required |= {name: ("a",) for name in ("inputs", "run") if name in kind.__dataclass_fields__ and name != field.name}
            is_list = field.name in ("inputs", "documents") or kind is runs.Compare and field.name == "run"
            made = kind(**required | {field.name: ("~/x", "y") if is_list else "~/x"})
            assert getattr(made, field.name) == ((f"{home}/x", "y") if is_list else f"{home}/x")


def test_a_tilde_is_the_home_folder_in_the_settings_of_a_run(home, tmp_path, capsys):
    app = App("classification")
    given = app.config("softmax", runs="~/runs", saved_models="~/sm", initialize="~/runs/x", data_dir="~/data")
    assert (given.runs, given.saved_models, given.initialize) == (f"{home}/runs", f"{home}/sm", f"{home}/runs/x")
    assert given.data_dir == "~/data" and sources._data_dir(given) == f"{home}/data"
    (tmp_path / "kept.json").write_text(config.dumps(given))
    cli.main("apps.classification", ["--config=~/kept.json", "--runs=~/others", "--print-config"])
    assert f'"runs": "{home}/others"' in capsys.readouterr().out


def test_a_user_without_a_home_folder_is_told_what_to_name(no_home):
    assert os.path.expanduser("~/x") == "~/x"
    with pytest.raises(UserError, match="home folder, but this user has none: specify a folder with --data-dir or TFDS_DATA_DIR"):
        sources._data_dir(App("classification").config("softmax"))
    assert doctor.data_sets().state == "bad" and "--data-dir or TFDS_DATA_DIR" in doctor.data_sets().text
    with pytest.raises(UserError, match="~/runs refers to the home folder, but this user has none"):
        App("classification").config("softmax", runs="~/runs")
    assert paths.expanded("plain/~") == "plain/~"


def test_no_folder_called_tilde_is_made_for_a_user_without_a_home_folder(no_home, monkeypatch):
    for name in ("KERAS_HOME", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    importlib.reload(training)
    assert os.environ["KERAS_HOME"] == os.path.join(tempfile.gettempdir(), ".keras") and "MPLCONFIGDIR" in os.environ
