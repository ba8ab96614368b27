"""A fixed number of places to train on."""
import keras
import numpy as np
import pytest

import layers
from tests.layers.layer_contract import check_layer

BACKGROUND, NEITHER = -1, -2


def first_ones(layer, matches):
    """Takes the first candidates; where there are too few, the first places that are left, with weight 0."""
    indices, weights = [], []
    for row in matches:
        objects = list(np.flatnonzero(row >= 0))[:max(1, int(layer.samples * layer.positive_fraction))]
        chosen = (objects + list(np.flatnonzero(row == BACKGROUND)))[:layer.samples]
        rest = [place for place in range(len(row)) if place not in chosen][:layer.samples - len(chosen)]
        missing = [0] * (layer.samples - len(chosen) - len(rest))
        indices.append(chosen + rest + missing)
        weights.append([1.0] * len(chosen) + [0.0] * len(rest + missing))
    return np.array(indices), np.array(weights)


def some_matches():
    matches = np.random.default_rng(0).choice([NEITHER, BACKGROUND, BACKGROUND, 0, 1], size=(4, 17)).astype("int32")
    matches[1] = np.where(matches[1] >= 0, BACKGROUND, matches[1])  # no object
    matches[2, 3:] = NEITHER  # three candidates at most
    return matches


@pytest.mark.parametrize("samples, fraction", [(8, 0.3), (20, 0.5)])  # the latter are more than there are places
def test_contract(samples, fraction, tmp_path):
    check_layer(lambda **options: layers.BalancedSampler(samples, fraction, seed=5, **options), {"matches": some_matches()},
                first_ones, tmp_path, discrete=True, always_float32=True)


def test_contract_in_training(tmp_path):
    """Checks that eager, traced and reloaded layers draw the same; what they draw is checked below."""
    check_layer(lambda **options: layers.BalancedSampler(8, 0.3, seed=5, **options), {"matches": some_matches()},
                lambda layer, matches: layer(matches, training=True), tmp_path, training=True, discrete=True,
                always_float32=True, draws=True)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("objects, background, expected", [
    (10, 20, (3, 5)),  # enough of both
    (2, 20, (2, 6)),  # background fills up
    (10, 2, (3, 2)),  # objects do not
    (0, 20, (0, 8)), (1, 0, (1, 0)), (0, 0, (0, 0))])
def test_counts(training, objects, background, expected):
    row = np.array([0] * objects + [BACKGROUND] * background + [NEITHER] * 15)
    matches = np.random.default_rng(1).permuted(np.tile(row, (50, 1)), axis=1).astype("int32")
    indices, weights = (np.asarray(x) for x in layers.BalancedSampler(8, 0.4, seed=0)(matches, training=training))
    taken = np.take_along_axis(matches, indices, axis=1)
    assert indices.shape == weights.shape == (50, 8)
    assert ((taken >= 0) & (weights == 1)).sum(axis=1).tolist() == [expected[0]] * 50
    assert ((taken == BACKGROUND) & (weights == 1)).sum(axis=1).tolist() == [expected[1]] * 50
    assert not ((taken == NEITHER) & (weights != 0)).any()
    assert all(len(set(row)) == 8 for row in indices), "a place is drawn twice"
    assert (np.diff(np.where(weights == 1, taken < 0, 2), axis=1) >= 0).all(), "objects come first, then background"


def test_the_draw_is_uniform():
    row = np.array([0, 1, BACKGROUND, 0, NEITHER, BACKGROUND, BACKGROUND, BACKGROUND, 2, BACKGROUND, NEITHER], "int32")
    indices, weights = layers.BalancedSampler(5, 0.4, seed=0)(np.tile(row, (4000, 1)), training=True)
    drawn = np.bincount(np.ravel(indices), np.ravel(weights), minlength=len(row)) / 4000
    expected = np.where(row >= 0, 2 / 4, np.where(row == BACKGROUND, 3 / 5, 0))
    np.testing.assert_allclose(drawn, expected, atol=5 * np.sqrt(0.25 / 4000))


def test_draws_differ_and_follow_the_seed():
    matches = np.full((3, 100), BACKGROUND, "int32")
    sampler, twin = (layers.BalancedSampler(10, seed=7) for _ in range(2))
    first, second = (np.asarray(sampler(matches, training=True)[0]) for _ in range(2))
    assert not np.array_equal(first, second) and not np.array_equal(first[0], first[1])
    assert np.array_equal(twin(matches, training=True)[0], first)
    keras.utils.set_random_seed(1)
    assert not np.array_equal(layers.BalancedSampler(10)(matches, training=True)[0], first)


@pytest.mark.parametrize("settings", [dict(samples=0), dict(samples=4, positive_fraction=0),
                                      dict(samples=4, positive_fraction=1.5)], ids=str)
def test_arguments_are_checked(settings):
    with pytest.raises(ValueError, match="must be"):
        layers.BalancedSampler(**settings)
