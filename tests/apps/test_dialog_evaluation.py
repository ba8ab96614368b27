"""Shares of correct responses and dialogues, against plain loops."""
import numpy as np
import pytest
import tensorflow as tf

from apps.dialog import evaluation
from tests.apps import small_dialogs


class Fixed:
    """A system whose inputs are its logits."""

    def __call__(self, inputs, training):
        assert not training
        return inputs["logits"]


def batches(chosen, targets, size=7):
    logits = np.eye(len(small_dialogs.INFO.candidates), dtype="float32")[chosen]
    return tf.data.Dataset.from_tensor_slices(({"logits": logits}, targets)).batch(size)


def some(count=60, seed=0):
    random = np.random.default_rng(seed)
    right = random.integers(0, 7, count).astype("int32")
    chosen = np.where(random.random(count) < 0.2, random.integers(0, 7, count), right)
    dialogs = np.sort(random.integers(0, 20, count)).astype("int64")  # the same numbers in both splits
    return chosen, {"response": right, "dialog_id": dialogs, "is_oov": np.arange(count) % 3 == 0}


def plain(chosen, targets, oov):
    """Goes through the turns one by one."""
    turns, dialogs = [], {}
    for guess, right, dialog, is_oov in zip(chosen, targets["response"], targets["dialog_id"], targets["is_oov"]):
        if is_oov == oov:
            turns.append(guess == right)
            dialogs[dialog] = dialogs.get(dialog, True) and guess == right
    return sum(turns) / len(turns), sum(dialogs.values()) / len(dialogs)


def test_rates_are_those_of_plain_loops():
    chosen, targets = some()
    _, config = small_dialogs.build("tfidf")
    metrics = evaluation.evaluate(Fixed(), batches(chosen, targets), config, small_dialogs.INFO)
    assert (metrics["per_response"], metrics["per_dialog"]) == pytest.approx(plain(chosen, targets, False))
    assert (metrics["per_response_oov"], metrics["per_dialog_oov"]) == pytest.approx(plain(chosen, targets, True))
    kinds = [2, 2, 0, 0, 1, 1, 2]
    assert evaluation.kinds_of(small_dialogs.INFO).tolist() == kinds
    for kind, name in enumerate(evaluation.KINDS):
        own = [guess == right for guess, right, oov in zip(chosen, targets["response"], targets["is_oov"])
               if kinds[right] == kind and not oov]
        assert metrics["per_kind"][name] == pytest.approx(np.mean(own))


def test_one_wrong_response_makes_only_its_dialogue_wrong():
    rates = evaluation.rates(np.array([True, True, False, True, True]), np.array([7, 7, 9, 9, 11]))
    assert rates == pytest.approx({"per_response": 0.8, "per_dialog": 2 / 3})


def test_a_set_without_unseen_split_has_no_such_figures():
    chosen, targets = some()
    targets["is_oov"][:] = False
    _, config = small_dialogs.build("tfidf")
    metrics = evaluation.evaluate(Fixed(), batches(chosen, targets), config, small_dialogs.INFO)
    assert "per_response_oov" not in metrics and set(evaluation.VALIDATION_METRICS) <= set(metrics)


def test_intervals_hold_the_figure_and_narrow_with_more_dialogues():
    widths = []
    for count in (60, 2000):
        chosen, targets = some(count)
        targets["dialog_id"] = np.arange(count) // 3
        _, config = small_dialogs.build("tfidf")
        metrics = evaluation.evaluate(Fixed(), batches(chosen, targets), config, small_dialogs.INFO, resamples=200)
        for name in ("per_response", "per_dialog", "per_response_oov", "per_dialog_oov"):
            low, high = metrics["intervals"][name]
            assert low <= metrics[name] <= high and low < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_the_table_names_every_figure(capsys):
    chosen, targets = some()
    _, config = small_dialogs.build("tfidf")
    metrics = evaluation.evaluate(Fixed(), batches(chosen, targets), config, small_dialogs.INFO)
    evaluation.table(metrics)
    said = capsys.readouterr().out
    assert f"{metrics['per_response']:.1%}" in said and f"{metrics['per_dialog_oov']:.1%}" in said and "API calls" in said


def test_limit_steps_ends_early():
    chosen, targets = some()
    _, config = small_dialogs.build("tfidf", limit_steps=2)
    metrics = evaluation.evaluate(Fixed(), batches(chosen, targets), config, small_dialogs.INFO)
    few = {name: values[:14] for name, values in targets.items()}
    assert metrics["per_response"] == pytest.approx(plain(chosen[:14], few, False)[0])


def test_intervals_are_those_of_all_resamples_at_once():
    chosen, targets = some()
    _, config = small_dialogs.build("tfidf")
    metrics = evaluation.evaluate(Fixed(), batches(chosen, targets), config, small_dialogs.INFO, resamples=50)
    seen = ~targets["is_oov"]
    wrong, (_, rows) = (chosen != targets["response"])[seen], np.unique(targets["dialog_id"][seen], return_inverse=True)
    turns, wrong = np.bincount(rows), np.bincount(rows, weights=wrong)
    drawn = np.random.default_rng(config.seed).integers(0, len(turns), (50, len(turns)))
    samples = {"per_response": 1 - wrong[drawn].sum(axis=1) / turns[drawn].sum(axis=1),
               "per_dialog": (wrong[drawn] == 0).mean(axis=1)}
    for name, values in samples.items():
        assert metrics["intervals"][name] == np.percentile(values, [2.5, 97.5]).tolist()
