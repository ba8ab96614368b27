"""The verb `search`: from coarse to fine, going on where it was stopped, and the command that it ends with."""
import dataclasses
import json
import math
import shlex

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import training
from apps.__main__ import catalogue
from training import cli, forms, run, search
from training.app import App

CLASSIFICATION, ENSEMBLES = App("classification"), App("ensembles")


def config(folder, **changes):
    return CLASSIFICATION.config(
        "softmax", image_size=8, batch_size=64, epochs=3, limit_steps=4, runs=str(folder), dtype="float32", **changes)


def parsed(app, arguments):
    return forms.parse(app.systems, arguments, program="", description="")


GIVEN = ("batch_size", "optimizer")


def test_the_fine_range_is_a_quarter_around_the_best_and_inside_the_whole():
    for how, middle, ends in ((("log", 1e-4, 1.0), 1e-2, (10 ** -2.5, 10 ** -1.5)), (("log", 1e-4, 1.0), 1e-4, (1e-4, 10 ** -3.5)),
                              (("linear", 0.0, 0.8), 0.4, (0.3, 0.5)), (("linear", 0.0, 0.8), 0.75, (0.65, 0.8))):
        found = search._distribution(how, middle)
        assert (found.low, found.high) == pytest.approx(ends) and found.log == (how[0] == "log")
        whole = search._distribution(how)
        assert (whole.low, whole.high) == how[1:]


def test_a_search_that_is_stopped_goes_on_as_if_it_were_not(tmp_path, monkeypatch, capsys):
    tried, values = [], []
    real = run.trial

    def trial(app, chosen, splits, watching, prepare):
        tried.append(chosen)
        if len(tried) == stop:
            raise KeyboardInterrupt
        if len(tried) == 3:
            prepare(None)
            raise training.UserError("the loss is not finite")  # a bad trial is one of many
        real(app, chosen, splits, watching)
        values.append(watching[0].value)

    monkeypatch.setattr(run, "trial", trial)
    stop = None
    best = search.search(CLASSIFICATION, config(tmp_path / "one"), 5, GIVEN)
    whole, tried = tried, []
    assert [chosen.epochs for chosen in whole] == [1, 1, 1, 3, 3]
    names = ("learning_rate", "weight_decay", "label_smoothing")
    assert len({chosen.learning_rate for chosen in whole}) == 5 and {chosen.batch_size for chosen in whole} == {64}
    first = whole[int(np.argmax(values[:2]))]
    for chosen in whole[3:]:
        assert abs(math.log(chosen.learning_rate / first.learning_rate)) <= math.log(0.5 / 1e-4) / 8 + 1e-9
    assert best in [{name: getattr(chosen, name) for name in names} for chosen in whole[3:]]
    said = capsys.readouterr().out
    assert "trial 3 of 5, coarse: accuracy nan" in said and said.count("fine: accuracy 0.") == 2

    command, = [line.split("apps.classification ")[1] for line in said.splitlines() if line.startswith("command")]
    again = parsed(CLASSIFICATION, shlex.split(command)).config
    assert {name: getattr(again, name) for name in names} == best
    assert (again.model, again.image_size, again.epochs, again.limit_steps) == ("softmax", 8, 3, 4)

    stop = 4
    with pytest.raises(KeyboardInterrupt):
        search.search(CLASSIFICATION, config(tmp_path / "two"), 5, GIVEN)
    stop, before = None, len(tried) - 1
    search.search(CLASSIFICATION, config(tmp_path / "two"), 5, GIVEN)
    del tried[before]  # the one that was stopped
    assert [[getattr(chosen, name) for name in names] for chosen in tried] == [
        [getattr(chosen, name) for name in names] for chosen in whole]
    assert "continuing after 3 of 5 trials" in capsys.readouterr().out

    shown = EventAccumulator(str(next((tmp_path / "one").rglob("trial-004")) / "test")).Reload()
    assert "test/val_accuracy" in shown.Tags()["tensors"]
    with pytest.raises(training.UserError, match="other settings"):
        search.search(CLASSIFICATION, config(tmp_path / "one", seed=1), 5, GIVEN)


def test_what_is_given_is_not_searched(tmp_path):
    with pytest.raises(training.UserError, match="no settings left"):
        search.search(CLASSIFICATION, config(tmp_path), 2, (*GIVEN, "learning_rate", "weight_decay", "label_smoothing"))


def test_a_name_that_leads_elsewhere_is_refused(tmp_path):
    with pytest.raises(training.UserError, match="must be a plain folder name"):
        search.search(CLASSIFICATION, config(tmp_path / "runs", name="../elsewhere"), 2, GIVEN)
    assert not list(tmp_path.iterdir())


def test_the_command_line_says_how_many_trials_and_what_is_fixed(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(search, "search", lambda *request: asked.append(request))
    cli.main("apps.classification", ["search", "--trials", "7", "--model", "lenet5", "--learning-rate", "0.01"])
    (app, resolved, trials, given), = asked
    assert (app.task, trials, given) == ("classification", 7, {"model", "learning_rate"})
    assert resolved == CLASSIFICATION.config("lenet5", learning_rate=0.01)
    with pytest.raises(SystemExit):
        cli.main("apps.classification", ["search", "--trials", "0"])
    assert "--trials must be 1 or more" in capsys.readouterr().err


def test_a_system_that_cannot_begin_ends_the_search(tmp_path, monkeypatch):
    def initialize(*_):
        raise training.UserError("the weights are not here")

    monkeypatch.setattr(run, "initialize", initialize)
    with pytest.raises(training.UserError, match="the weights are not here"):
        search.search(CLASSIFICATION, config(tmp_path), 5, GIVEN)


def test_the_space_names_settings_that_a_model_reads():
    for app in catalogue().values():
        for kind in app.systems.values():
            names = {field.name for field in dataclasses.fields(kind)}
            assert not set(kind.SPACE) & {"batch_size", "image_size", "dataset"}  # the data is read once for all trials
            json.dumps(kind.SPACE)
            assert not kind.SPACE or set(kind.SPACE) & names or kind.model in COUNTING, kind
            whole = kind.of()
            short = whole.shortened(3)
            assert 1 <= short.epochs <= whole.epochs / 2 or whole.epochs == short.epochs == 1
        assert {name for kind in app.systems.values() for name in kind.SPACE} <= {
            field.name for kind in app.systems.values() for field in dataclasses.fields(kind)}


COUNTING = {"tfidf", "naive_bayes", "lda"}


def test_what_has_no_validation_split_cannot_be_searched(tmp_path):
    with pytest.raises(training.UserError, match="leave out --train-on-all"):
        search.search(CLASSIFICATION, config(tmp_path / "runs", train_on_all=True), 2)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("model, epochs, members, expected", [
    ("independent", 30, 5, 10), ("independent", 2, 5, 1), ("bagging", 4, 5, 2), ("snapshots", 50, 5, 15), ("snapshots", 5, 5, 5),
    ("adaboost", 200, 20, 60), ("adaboost", 4, 2, 4), ("gradient_boosting", 200, 20, 60), ("snapshots", 51, 5, 51)])
def test_a_coarse_trial_of_an_ensemble_has_whole_epochs_for_every_member(model, epochs, members, expected):
    assert ENSEMBLES.config(model, epochs=epochs, members=members).shortened(3).epochs == expected


def test_snapshots_can_be_searched(tmp_path, capsys):
    whole = ENSEMBLES.config("snapshots", members=2, epochs=6, hidden=8, runs=str(tmp_path), data_dir=str(tmp_path / "data"), force=True)
    search.search(ENSEMBLES, whole, 2)
    said = capsys.readouterr().out
    assert "trial 1 of 2, coarse: accuracy 0." in said and "trial 2 of 2, fine: accuracy 0." in said


def test_the_command_gives_a_bare_flag_where_a_setting_takes_no_value():
    for app, changes in ((CLASSIFICATION, dict(force=True, train_on_all=True, model="resnet", full_size=True, augment=True)),
                         (App("detection"), dict(augment=False, download=True, anchor_ratios=(0.5, 3.0)))):
        wanted = app.config(**changes)
        command = search._flags(app, wanted)
        assert parsed(app, shlex.split(command)).config == wanted, command
