"""Both kinds of dropout: their expectation, their scale and their masks."""
import keras
import numpy as np
import pytest

import layers
from tests.layers.layer_contract import check_layer

KINDS = [layers.InvertedDropout, layers.ClassicDropout]
RATE = 0.3


def by_the_equation(training):
    def outputs(layer, inputs):
        inverted = isinstance(layer, layers.InvertedDropout)
        if not training:
            return inputs * (1 if inverted else 1 - layer.rate)
        drawn = np.asarray(keras.random.uniform(inputs.shape, seed=layer.seed_generator))
        return np.where(drawn < layer.rate, 0, inputs / (1 - layer.rate) if inverted else inputs)

    return outputs


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [False, True])
def test_contract(kind, training, tmp_path):
    inputs = np.random.default_rng(0).normal(size=(4, 7, 5)).astype("float32")
    check_layer(lambda **options: kind(RATE, seed=3, **options), {"inputs": inputs}, by_the_equation(training), tmp_path,
                training=training, draws=training)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_the_expectation_in_training_is_the_activation_afterwards(kind, rate):
    """The mean of each unit over many masks, within five standard errors."""
    layer, masks = kind(rate, seed=0), 20_000
    inputs = np.array([-3, -1, 0, 0.5, 2, 10], "float32")
    drawn = layer(np.tile(inputs, (masks, 1)), training=True).numpy().astype("float64")
    scale = 1 / (1 - rate) if kind is layers.InvertedDropout else 1
    errors = np.abs(inputs) * scale * np.sqrt(rate * (1 - rate) / masks)
    afterwards = layer(inputs[None], training=False)[0].numpy()
    assert (np.abs(drawn.mean(axis=0) - afterwards) <= 5 * errors + 1e-6).all()


@pytest.mark.parametrize("precision", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("kind, of_a_survivor", [(layers.InvertedDropout, 1 / (1 - RATE)), (layers.ClassicDropout, 1)])
def test_survivors_are_scaled_or_not(kind, of_a_survivor, precision):
    outputs = kind(RATE, seed=0, dtype=precision)(np.ones((1000, 30)), training=True).numpy().astype("float64")
    survivors = outputs != 0
    np.testing.assert_allclose(outputs[survivors], of_a_survivor, rtol=0.01 if "mixed" in precision else 1e-6)
    assert survivors.mean() == pytest.approx(1 - RATE, abs=5 * np.sqrt(RATE * (1 - RATE) / 30_000))


@pytest.mark.parametrize("kind", KINDS)
def test_units_are_dropped_one_by_one(kind):
    """No axis shares a mask, and neighbors are independent."""
    kept = kind(0.5, seed=0)(np.ones((200, 300), "float32"), training=True).numpy() != 0
    for axis in range(2):
        means = kept.mean(axis=axis)
        assert np.abs(means - 0.5).max() < 5 * 0.5 / np.sqrt(kept.shape[axis])
    assert (kept[:, 1:] == kept[:, :-1]).mean() == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(200 * 299))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [False, True])
def test_rate_zero_is_the_identity(kind, training):
    inputs = np.random.default_rng(0).normal(size=(4, 7)).astype("float32")
    np.testing.assert_array_equal(kind(0)(inputs, training=training), inputs)


def test_inverted_is_the_identity_when_not_training():
    inputs = np.random.default_rng(0).normal(size=(4, 7)).astype("float32")
    np.testing.assert_array_equal(layers.InvertedDropout(0.7)(inputs), inputs)


@pytest.mark.parametrize("kind", KINDS)
def test_masks_differ_from_call_to_call_and_follow_the_seed(kind):
    inputs = np.ones((20, 30), "float32")
    first, twin, other = (kind(RATE, seed=seed) for seed in (1, 1, 2))
    masks = [[layer(inputs, training=True).numpy() for _ in range(3)] for layer in (first, twin, other)]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0][0], masks[2][0])
    assert not any(np.array_equal(masks[0][a], masks[0][b]) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_both_kinds_have_the_same_masks():
    inputs = np.ones((20, 30), "float32")
    inverted, classic = (kind(RATE, seed=1)(inputs, training=True) for kind in KINDS)
    np.testing.assert_allclose(inverted, classic / (1 - RATE), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [-0.1, 1, 1.5])
def test_arguments_are_checked(kind, rate):
    with pytest.raises(ValueError, match="must be in"):
        kind(rate)
