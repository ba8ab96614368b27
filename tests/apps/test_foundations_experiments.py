"""The experiments: what they measure is what they say, the same again by --seed, and kept."""
import dataclasses
import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import training
from apps.foundations import data as tables
from apps.foundations import systems
from apps.foundations.experiments import bias_variance, cross_validation, generative
from training import cli
from training.app import App
from training.config import Data

APP = App("foundations")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("data"))


# bias_variance

def test_bias_variance_and_noise_add_up_to_the_error(tmp_path, capsys):
    request = systems.BiasVariance(resamples=400, runs=str(tmp_path), name="one")
    numbers = bias_variance.run(APP, request)
    for kind in ("degree", "penalty"):
        rows = numbers[kind]
        for row in rows:
            assert row["sum"] == pytest.approx(row["bias"] + row["variance"] + row["noise"])
            assert abs(row["sum"] - row["error"]) < 4 * row["standard_error"]
        variances = [row["variance"] for row in rows]
        assert variances == sorted(variances) and rows[0]["bias"] > 100 * rows[-1]["bias"]
        best = int(np.argmin([row["error"] for row in rows]))
        assert 0 < best < len(rows) - 1  # neither the least capacity nor the most
    again = bias_variance.run(APP, dataclasses.replace(request, name="two"))
    assert again == numbers
    kept = tmp_path / "foundations" / "one"
    assert json.loads((kept / "bias_variance.json").read_text())["degree"] == numbers["degree"]
    assert {path.name for path in (kept / "pictures").iterdir()} == {"decomposition.png", "curves.png"}
    assert list(kept.glob("events*")) and "measured error" in capsys.readouterr().out


def test_the_decomposition_finds_a_bias_and_a_variance_that_are_put_in():
    points = np.linspace(0, 1, 50)
    random = np.random.default_rng(0)
    curves = bias_variance.truth(points) + 0.5 + 0.2 * random.normal(size=(4000, 1))
    fresh = bias_variance.truth(points) + 0.3 * random.normal(size=(4000, 50))
    found = bias_variance.decomposition(curves, points, fresh, 0.3)
    assert (found["bias"], found["variance"]) == (pytest.approx(0.25, rel=0.05), pytest.approx(0.04, rel=0.05))
    assert found["error"] == pytest.approx(0.25 + 0.04 + 0.09, rel=0.05)


def test_fits_are_least_squares_with_a_penalty():
    random = np.random.default_rng(0)
    x, y, points = random.random((2, 12)), random.normal(size=(2, 12)), np.linspace(0, 1, 5)
    found = bias_variance.fitted(x, y, points, 4, 0.0)
    for row in range(2):
        assert found[row] == pytest.approx(np.polynomial.Polynomial.fit(x[row], y[row], 4)(points), abs=1e-8)
    from sklearn.linear_model import Ridge

    rows = np.polynomial.legendre.legvander(2 * x[0] - 1, 4)[:, 1:]
    ridge = Ridge(alpha=0.7).fit(rows, y[0])
    expected = ridge.predict(np.polynomial.legendre.legvander(2 * points - 1, 4)[:, 1:])
    assert bias_variance.fitted(x, y, points, 4, 0.7)[0] == pytest.approx(expected)


# generative

def test_the_learning_curves_cross(data_dir, tmp_path, capsys):
    request = systems.Generative(datasets=("tabular/iris",), resamples=30, data_dir=data_dir, runs=str(tmp_path), name="one")
    found = generative.run(APP, request)["datasets"]["tabular/iris"]
    errors = {kind: np.array(values["mean"]) for kind, values in found["errors"].items()}
    assert set(errors) == set(generative.KINDS)
    assert all(values[-1] < values[0] for values in errors.values())
    assert errors["shared naive_bayes"][0] < errors["logistic"][0]  # few examples: the generative one
    assert errors["shared naive_bayes"][-1] > errors["logistic"][-1] - 0.005
    crossing = found["crossings"]["shared naive_bayes"]
    assert crossing in found["sizes"][1:]
    assert f"logistic regression and shared naive_bayes cross last at {crossing} examples: from there" in capsys.readouterr().out
    assert (tmp_path / "foundations" / "one" / "pictures" / "curves.png").is_file()
    again = generative.run(APP, dataclasses.replace(request, name="two"))["datasets"]["tabular/iris"]
    assert again == found


def test_a_crossing_is_one_only_if_both_sides_are_sure():
    sizes, half = [4, 8, 16, 32], np.full(4, 0.1)
    assert generative.crossing(sizes, np.array([-0.3, -0.05, 0.05, 0.3]), half) == 16
    assert generative.crossing(sizes, np.array([-0.3, 0.3, -0.01, 0.3]), half) == 32
    assert generative.crossing(sizes, np.array([-0.05, -0.05, 0.05, 0.3]), half) is None
    assert generative.crossing(sizes, np.array([-0.3, -0.05, 0.05, 0.05]), half) is None
    assert generative.crossing(sizes, np.full(4, 0.3), half) is None and generative.crossing(sizes, np.full(4, -0.3), half) is None


def test_sizes_below_the_last_crossing_where_logistic_regression_errs_less_too_are_said(capsys):
    errors = {kind: {"mean": [0.3, 0.2, 0.2, 0.2], "interval": [0.01] * 4} for kind in generative.KINDS}
    errors["logistic"]["mean"] = [0.2, 0.3, 0.3, 0.1]
    crossings = {"naive_bayes": None, "shared naive_bayes": 32, "lda": 32}
    generative._print("a set", {"sizes": [4, 8, 16, 32], "errors": errors, "crossings": crossings})
    said = capsys.readouterr().out
    assert "logistic regression and naive_bayes do not cross" in said
    assert ("cross last at 32 examples: from there on logistic regression has the lower error, before that the higher one, "
            "except at 4 examples\n") in said


def test_training_sets_hold_every_class_and_each_other(data_dir):
    labels = np.repeat([0, 1, 2], [40, 5, 10])
    for seed in range(5):
        order = generative._order(labels, 3, np.random.default_rng(seed))
        assert sorted(order) == list(range(55)) and np.bincount(labels[order[:6]]).tolist() == [2, 2, 2]


# cross_validation

def test_the_loss_on_left_out_folds_is_that_of_scikit_learn(data_dir):
    table = tables.read("tabular/iris", Data(data_dir=data_dir))
    features, labels = table.parts["train"]
    fold_of = cross_validation.assign(labels, 5, 0, True)
    assert np.ptp([np.bincount(labels[fold_of == fold], minlength=3) for fold in range(5)], axis=0).max() <= 1
    found = cross_validation._losses(cross_validation.Fitter("softmax", 3), features, labels, fold_of, 5, 0.3)
    splits = [(np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)) for fold in range(5)]
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, tol=1e-8, max_iter=10_000))
    expected = -cross_val_score(pipeline, features, labels, cv=splits, scoring="neg_log_loss")
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_best_c_of_all_is_chosen_and_evaluated_once(data_dir, tmp_path, capsys):
    request = systems.CrossValidation(model="linear", folds=5, coarse=5, fine=5, data_dir=data_dir, runs=str(tmp_path), name="one")
    numbers = cross_validation.run(APP, request)
    grid = numbers["grid"]
    best = min(grid, key=lambda row: row["loss"])
    assert [row["c"] for row in grid] == sorted(row["c"] for row in grid) and len(grid) == 7  # of the fine ones three are coarse
    chosen, simpler = numbers["test"]["chosen"], numbers["test"]["simpler"]
    assert chosen["c"] == best["c"] and simpler["c"] <= chosen["c"]
    assert next(row for row in grid if row["c"] == simpler["c"])["loss"] <= best["loss"] + best["standard_error"]
    coarse = np.logspace(-4, 4, 5)
    place = int(np.argmin([next(row["loss"] for row in grid if np.isclose(row["c"], c)) for c in coarse]))
    fine = [row["c"] for row in grid if not np.isclose(row["c"], coarse).any()]
    assert fine and all(coarse[max(0, place - 1)] < c < coarse[min(4, place + 1)] for c in fine)
    assert 45 < chosen["rmse"] < 65
    assert "within one standard error" in capsys.readouterr().out
    assert len(list((tmp_path / "foundations" / "one").glob("c_*/test/events*"))) == len(grid)  # the HParams page


# all

@pytest.mark.parametrize("flags, sentence", [
    (["bias_variance", "--examples", "5"], "more --examples than --degrees, got 5 and 11"),
    (["bias_variance", "--std", "-1"], "--std must be 0 or more, got -1.0"),
    (["bias_variance", "--resamples", "1"], "--resamples must be 2 or more, got 1"),
    (["bias_variance", "--degrees", "0"], "--degrees must be 1 or more, got 0"),
    (["generative", "--resamples", "1"], "--resamples must be 2 or more, got 1"),
    (["generative", "--c", "0"], "--c must be above 0, got 0.0"), (["generative", "--c", "inf"], "--c must be above 0, got inf"),
    (["generative", "--datasets"], "--datasets needs at least one value"),
    (["generative", "--datasets", "tabular/diabetes"], "the target of tabular/diabetes is a number"),
    (["generative", "--datasets", "nothing"], "there is no data set 'nothing'"),
    (["cross_validation", "--folds", "1"], "--folds must be 2 or more, got 1"),
    (["cross_validation", "--folds", "1000"],
     "--folds must be at most 427, the number of examples of tabular/breast_cancer, got 1000"),
    (["cross_validation", "--coarse", "1"], "--coarse must be 3 or more, got 1"),
    (["cross_validation", "--fine", "2"], "--fine must be 3 or more, got 2"),
    (["cross_validation", "--model", "logistic", "--dataset", "tabular/wine"], "logistic needs two classes"),
    (["optimizers", "--name", "../x"], "must be a plain folder name"),
    (["optimizers", "--steps", "0"], "--steps must be 1 or more, got 0"),
    (["optimizers", "--noise", "-1"], "--noise must be 0 or more, got -1.0"),
])
def test_bad_settings_are_one_clear_sentence(flags, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        cli.main("apps.foundations", flags)
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and said.startswith("error: ") and sentence in said and said.count("\n") == 1
    assert not list(tmp_path.glob("runs/*/*/*"))  # nothing half made is left


def test_a_result_is_never_written_over(tmp_path):
    request = systems.BiasVariance(resamples=2, degrees=1, runs=str(tmp_path), name="one")
    bias_variance.run(APP, request)
    with pytest.raises(training.UserError, match="is not empty: choose another --name"):
        bias_variance.run(APP, request)
