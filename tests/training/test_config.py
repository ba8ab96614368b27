"""Settings: declared by a class for each system, completed, refused, saved and loaded."""
import dataclasses
import json
import math
from typing import Annotated, ClassVar, Literal

import pytest

from apps.__main__ import catalogue
from training import Config, UserError, config
from training.app import App
from training.config import Count, Fraction, NotNegative, Positive, Range, Unless, When


class Family(Config):
    """What both systems share."""

    DATASETS: ClassVar = {"large": dict(units=16, epochs=9), "large/sub": dict(units=17)}

    dataset: str = "small"
    epochs = 3
    batch_size = 8
    units: Annotated[int, Count] = 4
    kind: Literal["soft", "hard"] = "soft"
    decay: Annotated[float, Fraction, Unless("kind", "hard")] = 0.0
    sides: Annotated[tuple[float, ...], Positive] = (1.0,)
    tasks: Annotated[tuple[int, ...], When("dataset", "large")] = ()
    augment: bool = True


class Wide(Family, model="wide", ids=("X1",)):
    """The wide system."""

    VARIANTS: ClassVar = {("kind", "hard"): {"units": 99}}


class Deep(Family, model="deep", ids=("X2", "X3")):
    """The deep system (Someone, 2020)."""

    DATASETS: ClassVar = {"large": dict(hops=5)}

    epochs = 7
    xla = True
    hops: Annotated[int | None, Count] = 2


SYSTEMS = {"wide": Wide, "deep": Deep}


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "config.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path
    return write


def test_values_come_from_the_class_and_the_data_set():
    assert (Wide.of().units, Wide.of().epochs, Wide().epochs) == (4, 3, 3)
    assert (Wide.of(dataset="large").units, Wide.of(dataset="large").epochs) == (16, 9)
    assert Wide.of(dataset="large/sub").units == 17 and Wide.of(dataset="large/sub").epochs == 9
    assert Wide.of(dataset="large/other").units == 16
    assert Wide.of(dataset="large/sub:1.0.0").units == 17 and Wide.of(dataset="large:2.*").units == 16
    assert Wide.of(dataset="small/large").units == 4


def test_the_more_derived_class_wins():
    assert Deep.of(dataset="large").epochs == 7 and Deep.of(dataset="large").hops == 5 and Deep.of().hops == 2
    assert Deep.of(dataset="large").units == 16


def test_an_inherited_default_is_changed_by_a_plain_assignment():
    assert Deep().epochs == 7 and Family().epochs == 3 and Config().epochs == 10
    assert [field.name for field in dataclasses.fields(Deep)] == [*(field.name for field in dataclasses.fields(Family)), "hops"]


def test_given_values_stay():
    given = dict(epochs=1, batch_size=2, learning_rate=0.5, units=3, kind="soft", decay=0.25, augment=False, hops=None)
    assert {name: getattr(Deep.of(**given), name) for name in given} == given


def test_the_title_is_the_first_line():
    assert config.title(Deep) == "The deep system (Someone, 2020)"


def test_what_follows_from_another_setting_comes_in_place_of_the_default():
    assert Wide.of().units == 4 and Wide.of(kind="hard").units == 99 and Wide.of(kind="hard", units=5).units == 5
    assert Wide.of(kind="hard", dataset="large").units == 99
    assert Deep.of().xla and not Deep.of(strategy="mirrored").xla and Deep.of(strategy="mirrored", xla=True).xla


def test_a_setting_without_effect_is_refused():
    assert Wide.of(kind="hard").decay == 0.0 and Wide.of(decay=0.5).decay == 0.5
    with pytest.raises(UserError, match="^--decay has no effect with --kind hard: leave it out$"):
        Wide.of(kind="hard", decay=0.5)
    with pytest.raises(UserError, match="--decay has no effect"):  # also where the value is the default
        Wide.of(kind="hard", decay=0.0)
    assert Wide.of(dataset="large/sub", tasks=(1,)).tasks == (1,)
    with pytest.raises(UserError, match="--tasks has no effect with --dataset small: leave it out"):
        Wide.of(tasks=(1,))


def test_a_settings_file_may_hold_what_has_no_effect_unless_it_was_changed(file):
    kept = Wide.of(kind="hard")
    assert config.load(SYSTEMS, file(dataclasses.asdict(kept))) == kept
    with pytest.raises(UserError, match="--decay has no effect with --kind hard"):
        config.load(SYSTEMS, file(dataclasses.asdict(kept) | {"decay": 0.5}))


@pytest.mark.parametrize("name, words", [("epochs", "1 or more"), ("batch_size", "1 or more"), ("learning_rate", "above 0"),
                                         ("steps_per_call", "1 or more"), ("checkpoint_every", "1 or more"),
                                         ("limit_steps", "1 or more"), ("units", "1 or more")])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_numbers_out_of_their_range(name, words, value):
    with pytest.raises(UserError, match=f"--{name.replace('_', '-')} must be {words}, got {value}"):
        Wide.of(**{name: value})


@pytest.mark.parametrize("allowed, words, inside, outside", [
    (Fraction, "at least 0 and below 1", (0, 0.999), (-1e-9, 1, math.nan)), (NotNegative, "0 or more", (0, 1e9), (-1, math.inf)),
    (Positive, "above 0", (1e-9, 5), (0, -1, math.nan)), (Range(above=0, below=2), "above 0 and below 2", (1e-9, 1.9), (0, 2)),
    (Count, "1 or more", (1, 2**40), (0,))])
def test_ranges_say_what_they_hold(allowed, words, inside, outside):
    assert str(allowed) == words
    assert all(map(allowed.holds, inside)) and not any(map(allowed.holds, outside))


def test_every_number_of_a_list_is_in_its_range_and_there_is_one():
    assert Wide.of(sides=(1.0, 2.0)).sides == (1.0, 2.0)
    with pytest.raises(UserError, match="--sides must be above 0, got -1.0"):
        Wide.of(sides=(1.0, -1.0))
    with pytest.raises(UserError, match="--sides needs at least one value"):
        Wide.of(sides=())
    assert Wide.of(dataset="large", tasks=()).tasks == ()


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_the_generators_cannot_take(seed):
    with pytest.raises(UserError, match="--seed must be at least 0 and below 4294967296"):
        Wide.of(seed=seed)


def test_round_trip(tmp_path):
    kept = Deep.of(dataset="voc/2007", learning_rate=1e-7, seed=2**32 - 1, augment=False)
    (tmp_path / "config.json").write_text(config.dumps(kept))
    assert config.load(SYSTEMS, tmp_path / "config.json") == kept
    for encoding in ("utf-8-sig", "utf-16"):  # as programs of Windows save it
        (tmp_path / "config.json").write_text(config.dumps(kept), encoding=encoding)
        assert config.load(SYSTEMS, tmp_path / "config.json") == kept


def test_a_file_with_few_settings_is_completed(file):
    assert config.load(SYSTEMS, file({"model": "deep", "dataset": "large"})) == Deep.of(dataset="large")
    assert config.load(SYSTEMS, file({})) == Wide.of()


@pytest.mark.parametrize("task", catalogue())
def test_every_system_of_every_application_round_trips(task, tmp_path):
    app = App(task)
    for kind in app.systems.values():
        for dataset in {kind.dataset, *(name for each in kind.__mro__ for name in vars(each).get("DATASETS", {}))}:
            kept = kind.of(dataset=dataset)
            (tmp_path / "config.json").write_text(config.dumps(kept))
            assert config.load(app.systems, tmp_path / "config.json") == kept
            names = [{*values} for each in kind.__mro__ for values in vars(each).get("DATASETS", {}).values()]
            assert set().union(*names) <= {field.name for field in dataclasses.fields(kind)}


@pytest.mark.parametrize("task, model, changes, words", [
    ("classification", "resnet", dict(dropout=1.0), "--dropout must be at least 0 and below 1, got 1.0"),
    ("classification", "resnet", dict(label_smoothing=2.0), "--label-smoothing must be at least 0 and below 1, got 2.0"),
    ("classification", "resnet", dict(weight_decay=-1.0), "--weight-decay must be 0 or more, got -1.0"),
    ("classification", "resnet", dict(erase=-3.0, augment=True), "--erase must be at least 0 and below 1, got -3.0"),
    ("classification", "resnet", dict(gradient_noise=-1.0), "--gradient-noise must be 0 or more, got -1.0"),
    ("classification", "resnet", dict(adversarial_epsilon=-1.0), "--adversarial-epsilon must be at least 0 and below 1, got -1.0"),
    ("detection", "retinanet", dict(head_layers=-2), "--head-layers must be 0 or more, got -2"),
    ("detection", "faster_rcnn", dict(extra_levels=-1), "--extra-levels must be 0 or more, got -1"),
    ("detection", "faster_rcnn", dict(anchor_ratios=(1.0, -1.0)), "--anchor-ratios must be above 0, got -1.0"),
    ("detection", "faster_rcnn", dict(anchor_ratios=()), "--anchor-ratios needs at least one value"),
    ("transfer", "all_layers", dict(weight_decay=-1.0), "--weight-decay must be 0 or more, got -1.0"),
    ("ensembles", "independent", dict(weight_decay=-1.0), "--weight-decay must be 0 or more, got -1.0"),
])
def test_applications_refuse_what_is_out_of_range(task, model, changes, words):
    with pytest.raises(UserError) as refused:
        App(task).config(model, **changes)
    assert str(refused.value) == words


def test_an_unknown_setting_is_named_with_its_neighbor_or_its_owner(file):
    with pytest.raises(UserError, match="the unknown setting 'lerning_rate'; did you mean 'learning_rate'?"):
        config.load(SYSTEMS, file({"lerning_rate": 1}))
    with pytest.raises(UserError, match="the unknown setting 'hops'; it belongs to deep, not to wide"):
        config.load(SYSTEMS, file({"model": "wide", "hops": 1}))


@pytest.mark.parametrize("name, value, words", [
    ("epochs", "ten", 'sets \'epochs\' to "ten", which is not an integer'),
    ("epochs", 1.5, "an integer"), ("epochs", True, "an integer"), ("seed", None, "not an integer"),
    ("learning_rate", [1], "a number"), ("download", 1, "true or false"), ("runs", None, "text"),
    ("model", "huge", 'names the unknown model "huge"; choose one of wide, deep'), ("model", ["wide"], "choose one of wide"),
    ("kind", 1, "one of soft, hard"), ("limit_steps", "all", "an integer or null"),
    ("sides", [1, "2"], "a list in which each value is a number"),
    ("epochs", 0, "--epochs must be 1 or more, got 0"),
])
def test_a_value_of_another_type_is_named(file, name, value, words):
    with pytest.raises(UserError, match=words):
        config.load(SYSTEMS, file({name: value}))


def test_whole_numbers_and_null_are_taken(file):
    taken = config.load(SYSTEMS, file({"model": "deep", "learning_rate": 1, "hops": None, "units": 2}))
    assert (taken.learning_rate, taken.hops, taken.units) == (1, None, 2)


@pytest.mark.parametrize("content", ["", "{", "[1]", "3", "[" * 100_000, "{\"runs\": \"\\ud800"])
def test_a_file_that_holds_no_settings(file, content):
    with pytest.raises(UserError, match="config.json"):
        config.load(SYSTEMS, file(content))


def test_a_file_that_is_not_there_or_no_text(tmp_path):
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00{")
    for path in (tmp_path / "none.json", tmp_path, tmp_path / "bytes.json"):
        with pytest.raises(UserError, match="cannot read settings from"):
            config.load(SYSTEMS, path)
