"""Settings: completed, refused, kept and given back."""
import dataclasses
import importlib
import json
import math
import pkgutil
import types
from typing import Literal

import pytest

import apps
from training import Config, UserError, config


@dataclasses.dataclass(frozen=True)
class Settings(Config):
    """Of an application with two systems."""

    model: Literal["wide", "deep"] = "wide"
    units: int | None = None
    hops: int | None = None
    kind: Literal["soft", "hard"] | None = None
    decay: float | None = None
    sides: tuple[float, ...] | None = None
    augment: bool = True


def defaults(model, dataset):
    values = dict(epochs=3, batch_size=8, learning_rate=0.1, units=16 if dataset == "large" else 4, kind="soft", decay=0.0)
    return values | (dict(hops=2) if model == "deep" else {})


APP = types.SimpleNamespace(SYSTEMS={"wide": "", "deep": ""}, Config=Settings, defaults=defaults,
                            POSITIVE=("units", "hops", "sides"), RANGES={"decay": (0, 1)})


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "config.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path
    return write


def test_none_is_completed_by_model_and_data_set():
    assert config.resolve(APP, Settings()).units == 4
    assert config.resolve(APP, Settings(dataset="large")).units == 16
    assert config.resolve(APP, Settings(model="deep", epochs=7)) == Settings(
        model="deep", epochs=7, batch_size=8, learning_rate=0.1, units=4, hops=2, kind="soft", decay=0.0)


def test_given_values_stay():
    given = Settings(epochs=1, batch_size=2, learning_rate=0.5, units=3, kind="hard", decay=0.25, augment=False)
    assert config.resolve(APP, given) == given


def test_resolving_twice_changes_nothing():
    once = config.resolve(APP, Settings(model="deep"))
    assert config.resolve(APP, once) == once


def test_a_field_of_another_model_is_refused_with_its_name():
    with pytest.raises(UserError, match="--hops is not read by wide; it belongs to deep"):
        config.resolve(APP, Settings(hops=1))


def test_a_field_that_is_not_read_beside_another_ones_value_is_refused_and_left_empty():
    app = types.SimpleNamespace(**vars(APP), unread=lambda settings: {"decay": "kind"} if settings.kind == "hard" else {})
    assert config.resolve(app, Settings(kind="hard")).decay is None and config.resolve(app, Settings()).decay == 0.0
    assert config.resolve(app, Settings(kind="soft", decay=0.5)).decay == 0.5
    with pytest.raises(UserError, match="--decay is not read with --kind hard"):
        config.resolve(app, Settings(kind="hard", decay=0.5))


@pytest.mark.parametrize("name", ["epochs", "batch_size", "learning_rate", "steps_per_call", "checkpoint_every",
                                  "limit_steps", "units"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_what_must_be_above_zero(name, value):
    with pytest.raises(UserError, match=f"--{name.replace('_', '-')} must be above 0, got {value}"):
        config.resolve(APP, Settings(**{name: value}))


@pytest.mark.parametrize("below, words", [(1, "at least 0 and below 1"), (math.inf, "0 or more")])
def test_what_has_a_range(below, words):
    app = types.SimpleNamespace(**vars(APP) | {"RANGES": {"decay": (0, below)}})
    for value in (0, 0.999):
        assert config.resolve(app, Settings(decay=value)).decay == value
    for value in (-1e-9, below, math.nan):
        with pytest.raises(UserError, match=f"--decay must be {words}, got {value}"):
            config.resolve(app, Settings(decay=value))


def test_every_number_of_a_list_is_in_its_range_and_there_is_one():
    assert config.resolve(APP, Settings(sides=(1.0, 2.0))).sides == (1.0, 2.0)
    with pytest.raises(UserError, match="--sides must be above 0, got -1.0"):
        config.resolve(APP, Settings(sides=(1.0, -1.0)))
    with pytest.raises(UserError, match="--sides needs one value or more"):
        config.resolve(APP, Settings(sides=()))


def test_what_follows_from_another_setting_comes_in_place_of_the_default():
    app = types.SimpleNamespace(**vars(APP), following=lambda settings: {"units": 99} if settings.kind == "hard" else {})
    assert config.resolve(app, Settings()).units == 4 and config.resolve(app, Settings(kind="hard")).units == 99
    assert config.resolve(app, Settings(kind="hard", units=5)).units == 5


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_the_generators_cannot_take(seed):
    with pytest.raises(UserError, match="--seed must be from 0"):
        config.resolve(APP, Settings(seed=seed))


def test_round_trip(tmp_path):
    kept = config.resolve(APP, Settings(model="deep", dataset="voc/2007", learning_rate=1e-7, seed=2**32 - 1, augment=False))
    config.save(kept, tmp_path / "config.json")
    assert config.load(Settings, tmp_path / "config.json") == kept


@pytest.mark.parametrize("task", [module.name for module in pkgutil.iter_modules(apps.__path__) if module.ispkg])
def test_every_system_of_every_application_round_trips(task, tmp_path):
    app = importlib.import_module(f"apps.{task}")
    for model in app.SYSTEMS:
        kept = config.resolve(app, app.Config(model=model))
        config.save(kept, tmp_path / "config.json")
        again = config.load(app.Config, tmp_path / "config.json")
        assert again == kept and config.resolve(app, again) == kept
        fields = {field.name for field in dataclasses.fields(app.Config)}
        assert set(app.defaults(model, kept.dataset)) <= fields
        assert {*getattr(app, "POSITIVE", ()), *getattr(app, "RANGES", ())} <= fields


@pytest.mark.parametrize("task, changes, words", [
    ("classification", dict(dropout=1.0), "--dropout must be at least 0 and below 1, got 1.0"),
    ("classification", dict(label_smoothing=2.0), "--label-smoothing must be at least 0 and below 1, got 2.0"),
    ("classification", dict(weight_decay=-1.0), "--weight-decay must be 0 or more, got -1.0"),
    ("classification", dict(erase=-3.0, augment=True), "--erase must be at least 0 and below 1, got -3.0"),
    ("classification", dict(gradient_noise=-1.0), "--gradient-noise must be 0 or more, got -1.0"),
    ("classification", dict(adversarial=-1.0), "--adversarial must be at least 0 and below 1, got -1.0"),
    ("detection", dict(model="retinanet", head_layers=-2), "--head-layers must be 0 or more, got -2"),
    ("detection", dict(extra_levels=-1), "--extra-levels must be 0 or more, got -1"),
    ("detection", dict(anchor_ratios=(1.0, -1.0)), "--anchor-ratios must be above 0, got -1.0"),
    ("detection", dict(anchor_ratios=()), "--anchor-ratios needs one value or more"),
    ("transfer", dict(weight_decay=-1.0), "--weight-decay must be 0 or more, got -1.0"),
    ("ensembles", dict(weight_decay=-1.0), "--weight-decay must be 0 or more, got -1.0"),
])
def test_applications_refuse_what_is_out_of_range(task, changes, words):
    app = importlib.import_module(f"apps.{task}")
    with pytest.raises(UserError) as refused:
        config.resolve(app, app.Config(**changes))
    assert str(refused.value) == words


def test_an_unknown_setting_is_named_with_its_neighbour(file):
    with pytest.raises(UserError, match="the unknown setting 'lerning_rate'; did you mean 'learning_rate'?"):
        config.load(Settings, file({"lerning_rate": 1}))


@pytest.mark.parametrize("name, value, words", [
    ("epochs", "ten", 'has \'epochs\': "ten", which is not a whole number or null'),
    ("epochs", 1.5, "a whole number"), ("epochs", True, "a whole number"), ("seed", None, "not a whole number"),
    ("learning_rate", [1], "a number or null"), ("download", 1, "true or false"), ("runs", None, "text"),
    ("model", "huge", "one of wide, deep"), ("model", ["wide"], "one of wide"), ("kind", 1, "one of soft, hard or null"),
])
def test_a_value_of_another_type_is_named(file, name, value, words):
    with pytest.raises(UserError, match=words):
        config.load(Settings, file({name: value}))


def test_whole_numbers_and_null_are_taken(file):
    taken = config.load(Settings, file({"learning_rate": 1, "kind": None, "units": 2}))
    assert (taken.learning_rate, taken.kind, taken.units) == (1, None, 2)


@pytest.mark.parametrize("content", ["", "{", "[1]", "3", "[" * 100_000, "{\"runs\": \"\\ud800"])
def test_a_file_that_holds_no_settings(file, content):
    with pytest.raises(UserError, match="config.json"):
        config.load(Settings, file(content))


def test_a_file_that_is_not_there_or_no_text(tmp_path):
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00{")
    for path in (tmp_path / "none.json", tmp_path, tmp_path / "bytes.json"):
        with pytest.raises(UserError, match="cannot read settings from"):
            config.load(Settings, path)
