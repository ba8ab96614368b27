"""Bootstrap intervals: the same resamples as ever, and statistics for which a resample has nothing to measure."""
import math

import numpy as np
import pytest

from training import bootstrap
from training.vision import classification_metrics

RANDOM = np.random.default_rng(4)
VALUES = RANDOM.normal(size=57)


def test_accuracy_has_the_interval_of_the_plain_formula():
    logits = RANDOM.normal(size=(83, 4))
    labels = RANDOM.integers(0, 4, 83)
    metrics = classification_metrics.summary(logits, labels, list("abcd"), resamples=200, seed=7)
    right, random = logits.argmax(axis=1) == labels, np.random.default_rng(7)
    drawn = [right[random.integers(0, len(right), len(right))].mean() for _ in range(200)]
    assert metrics["intervals"] == {"accuracy": np.percentile(drawn, [2.5, 97.5]).tolist()}
    assert metrics["intervals"]["accuracy"][0] < metrics["accuracy"] < metrics["intervals"]["accuracy"][1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_all_resamples_may_be_drawn_at_once(dtype):
    """A table of row numbers holds those that are drawn row by row: whoever drew them at once gets the same intervals."""
    values = VALUES.astype(dtype)
    drawn = np.random.default_rng(3).integers(0, len(values), (100, len(values)))
    expected = {"mean": np.percentile(values[drawn].mean(axis=1), [2.5, 97.5]).tolist(),
                "root": np.percentile(np.sqrt((values ** 2)[drawn].mean(axis=1)), [2.5, 97.5]).tolist()}
    found = bootstrap.intervals(
        lambda rows: {"mean": values[rows].mean(), "root": np.sqrt((values ** 2)[rows].mean())}, len(values), 100, 3)
    assert found == expected


def test_resamples_with_nothing_to_measure_are_left_out():
    calls = []

    def statistics(rows):
        calls.append(rows)
        has_first = bool((rows == 0).any())
        return {"all": VALUES[rows].mean(), "first": VALUES[rows].mean() if has_first else math.nan, "never": math.nan}

    found = bootstrap.intervals(statistics, len(VALUES), 50, 0)
    assert set(found) == {"all", "first"}
    with_first = [rows for rows in calls if (rows == 0).any()]
    assert len(calls) == 50 and 0 < len(with_first) < 50
    assert found["first"] == np.percentile([VALUES[rows].mean() for rows in with_first], [2.5, 97.5]).tolist()


def test_the_interval_covers_the_mean_about_as_often_as_it_says():
    random, covered = np.random.default_rng(0), 0
    for _ in range(200):
        sample = random.normal(size=60)
        low, high = bootstrap.intervals(lambda rows: {"mean": sample[rows].mean()}, 60, 200, 1)["mean"]
        covered += low < 0 < high
    assert 0.88 <= covered / 200 <= 0.99
