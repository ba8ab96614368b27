"""Precisions, settings that are refused or shortened, and the summary of ensembles."""
import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.apps.small_ensembles import APP, BATCH, CLASSES, IMAGES, LABELS, SIDE, STEPS, ensemble_of, train
from training import UserError, cli, summary
from training.data.spec import Spec


@pytest.mark.parametrize("model", APP.systems)
@pytest.mark.parametrize("precision", ["mixed_float16"], indirect=True)
def test_a_step_in_float16_is_the_one_in_float32(precision, model):
    rows = {"image": IMAGES[:BATCH]}, {"label": LABELS[:BATCH], "index": np.arange(BATCH, dtype="int32")}
    changes = []
    for policy in ("float32", precision):
        keras.config.set_dtype_policy(policy)
        made = ensemble_of(model, weight_decay=0.01)
        assert isinstance(made.optimizer, keras.optimizers.LossScaleOptimizer) == (policy == precision)
        made.optimizer.iterations.assign(1)  # the first rate is 0
        if policy == precision:
            made.optimizer.dynamic_scale.assign(2.0 ** 8)  # gradients of least squares are large
        before = made.networks.get_weights()
        made.train_step(rows)
        changes.append([after - start for after, start in zip(made.networks.get_weights(), before)])
        assert int(made.optimizer.iterations) == 2
    for exact, rough in zip(*changes, strict=True):
        assert np.abs(exact).max() > 0
        np.testing.assert_allclose(rough, exact, atol=0.01 * np.abs(exact).max())
        np.testing.assert_array_equal(rough.any(axis=tuple(range(1, rough.ndim))), exact.any(axis=tuple(range(1, exact.ndim))))
    outputs = made({"image": IMAGES})
    np.testing.assert_allclose(made.answer(outputs).numpy().sum(axis=1), 1, rtol=1e-3)
    assert all(value.dtype == tf.float32 for value in outputs.values())


@pytest.mark.parametrize("precision", ["mixed_float16"], indirect=True)
def test_steps_that_float16_skips_count_so_that_stages_keep_their_epochs(precision):
    model = ensemble_of("adaboost")
    start = model.networks.get_weights()
    model.optimizer.dynamic_scale.assign(2.0 ** 127)
    train(model, 2)
    assert int(model.optimizer.iterations) == 2 * STEPS and int(model.started) == 1
    assert float(model.optimizer.dynamic_scale.value) == 2.0 ** (127 - 2 * STEPS)
    assert all(np.array_equal(after, before) for after, before in zip(model.networks.get_weights(), start))
    model.optimizer.dynamic_scale.assign(2.0 ** 10)
    train(model, 2, first=2)
    assert int(model.optimizer.iterations) == 4 * STEPS and int(model.started) == 2
    moved = [[not np.array_equal(weight[member], before[member]) for member in range(3)]
             for weight, before in zip(model.networks.get_weights(), start)]
    assert np.any(moved, axis=0).tolist() == [False, True, False]
    assert model.own_metrics()["alphas"][1] > 0


@pytest.mark.parametrize("model, changes, words", [
    ("snapshots", dict(epochs=7), "--epochs 7 must be a multiple of --members 3"),
    ("adaboost", dict(epochs=3), "at least 2"),
    ("bagging", dict(epochs=1), "whose last epoch only evaluates"),
    ("bagging", dict(combine="parameters"), "--combine parameters is not available for bagging: choose one of probabilities, vote"),
    ("independent", dict(hidden=-1), "--hidden must be 0 or more"),
    ("independent", dict(hidden=0, depth=2), "--depth has no effect with --hidden 0"),
    ("independent", dict(members=0), "--members must be 1 or more"),
    ("gradient_boosting", dict(shrinkage=0.0), "--shrinkage must be above 0"),
])
def test_what_makes_no_ensemble_is_refused_in_one_sentence(model, changes, words):
    with pytest.raises(UserError, match=words) as refused:
        ensemble_of(model, **changes)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("flags, words", [
    (["--shrinkage", "0.5"], "--shrinkage is not a setting of independent; it belongs to gradient_boosting"),
    (["--model", "adaboost", "--combine", "vote"],
     "--combine is not a setting of adaboost; it belongs to independent, snapshots, bagging"),
    (["--hidden", "0", "--depth", "2"], "--depth has no effect with --hidden 0: leave it out"),
])
def test_settings_without_an_effect_are_refused_in_one_sentence(flags, words, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main("apps.ensembles", flags)
    assert ended.value.code == 2 and capsys.readouterr().err == f"error: {words}\n"


@pytest.mark.parametrize("model", APP.systems)
def test_the_settings_of_a_coarse_trial_of_a_search_make_an_ensemble(model):
    config = APP.config(model)
    short = config.shortened(3)
    assert short.epochs < config.epochs
    assert ensemble_of(model, epochs=short.epochs, members=config.members).members == config.members


@pytest.mark.parametrize("model", APP.systems)
def test_epochs_that_no_trial_can_have_are_not_shortened(model):
    config = APP.config(model, members=3, epochs=4)
    assert config.shortened(3).epochs == (4 if config.STAGED else 2 if config.EVALUATING else 1)


@pytest.mark.parametrize("model", APP.systems)
def test_summary_has_a_row_for_each_affine_layer_and_its_rows_sum_to_what_the_answer_is_computed_from(model):
    made = ensemble_of(model)
    spec = Spec({"image": tf.TensorSpec([None, SIDE, SIDE, 1], tf.uint8)}, {}, {})
    rows = {name.rpartition("/")[2]: row for name, *row in summary.layer_rows(made, spec)}
    inputs = SIDE * SIDE
    assert rows["layer1"] == ["(1, 3, 5)", 3 * (inputs * 5 + 5), 3 * inputs * 5]
    assert rows["layer2"] == [f"(1, 3, {CLASSES})", 3 * (5 * CLASSES + CLASSES), 3 * 5 * CLASSES]
    total = 3 * (inputs * 5 + 5 + 5 * CLASSES + CLASSES) + (3 if model == "adaboost" else 0)  # its alphas
    assert sum(row[1] for row in rows.values()) == made.count_params() == total
