"""Times of memories: counted back from the latest, with blanks between while training."""
import itertools
import math

import keras
import numpy as np
import pytest

import layers
from tests.layers.layer_contract import check_layer


def counted(layer, mask):
    times = np.zeros(mask.shape, int)
    for row, i in zip(*np.nonzero(mask)):
        times[row, i] = 1 + sum(mask[row, i + 1:])
    return times


def some_masks(rows, memories, seed=0):
    """Returns masks of every number of memories, full and empty ones among them, with gaps."""
    random = np.random.default_rng(seed)
    return random.permuted(np.arange(memories) < (np.arange(rows) % (memories + 1))[:, None], axis=1)


def full(rows, memories):
    return np.ones((rows, memories), bool)


def test_contract(tmp_path):
    check_layer(lambda **options: layers.TimeIndex(0.3, seed=5, **options), {"inputs": some_masks(13, 9)}, counted,
                tmp_path, discrete=True, always_float32=True)


def test_contract_without_noise_in_training(tmp_path):
    check_layer(lambda **options: layers.TimeIndex(0.0, seed=5, **options), {"inputs": some_masks(13, 9)}, counted,
                tmp_path, training=True, discrete=True, always_float32=True)


def test_contract_in_training(tmp_path):
    """Checks that eager, traced and reloaded layers draw the same; what they draw is checked below."""
    check_layer(lambda **options: layers.TimeIndex(0.3, seed=5, **options), {"inputs": some_masks(13, 9)},
                lambda layer, mask: layer(mask, training=True), tmp_path, training=True, discrete=True,
                always_float32=True, draws=True)


def test_the_latest_memory_is_1():
    mask = np.array([[1, 1, 1, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)
    assert layers.TimeIndex(0.5)(mask).numpy().tolist() == [[3, 2, 1, 0, 0], [0, 2, 0, 1, 0], [0, 0, 0, 0, 0]]


@pytest.mark.parametrize("noise", [0.1, 0.3, 1.0, 2.5])
@pytest.mark.parametrize("memories", [1, 12, 50])
def test_drawn_times_ascend_into_the_past_within_their_bound(memories, noise):
    layer = layers.TimeIndex(noise, seed=1)
    mask = some_masks(4000, memories)
    times = layer(mask, training=True).numpy()
    assert times.dtype == np.int32
    assert ((times > 0) == mask).all()
    assert layer.largest(memories) == memories + math.ceil(noise * memories)
    for row, there in zip(times, mask):
        count = there.sum()
        assert (np.diff(row[there]) < 0).all(), "the later, the smaller"
        assert row.max() <= count + math.ceil(noise * count), "there are too many blanks"
    assert times.max() <= layer.largest(memories)


@pytest.mark.parametrize("memories, noise", [(50, 0.3), (100, 0.15)])
def test_products_that_are_whole_numbers_are_not_rounded_up(memories, noise):
    """In float32 0.3 * 50 is a little more than 15. Half of the places are empty, so that there are times enough."""
    layer = layers.TimeIndex(noise, seed=2)
    mask = np.tile(np.arange(2 * memories) < memories, (2000, 1))
    times = layer(mask, training=True).numpy()
    assert times.max() == memories + math.ceil(noise * memories)


def test_every_number_of_blanks_is_drawn_equally_often():
    """One memory of n + blanks times says how many there were: its own time is uniform in 1..1 + blanks."""
    rows = 30000
    times = layers.TimeIndex(3.0, seed=3)(full(rows, 1), training=True).numpy()[:, 0]
    expected = [sum(1 / 4 / (1 + blanks) for blanks in range(4) if time <= 1 + blanks) for time in range(1, 5)]
    check_counts(times, dict(zip(range(1, 5), expected)))


def test_drawn_times_are_a_uniform_subset():
    """3 memories and up to 2 blanks: {1..3} with all of one third, a fourth of another one and a tenth of the last."""
    rows, memories, blanks = 30000, 3, 2
    times = layers.TimeIndex(0.5, seed=4)(full(rows, memories), training=True).numpy()
    chances = {}
    for more in range(blanks + 1):
        for subset in itertools.combinations(range(1, memories + more + 1), memories):
            chance = 1 / (blanks + 1) / math.comb(memories + more, memories)
            chances[subset] = chances.get(subset, 0) + chance
    assert len(chances) == 10 and sum(chances.values()) == pytest.approx(1)
    check_counts([tuple(row[::-1].tolist()) for row in times], chances)


def check_counts(drawn, chances):
    """Compares how often each thing was drawn with its chance, by the chi-square statistic."""
    drawn = list(drawn)
    assert set(drawn) == set(chances)
    statistic = sum((drawn.count(thing) - len(drawn) * chance) ** 2 / (len(drawn) * chance)
                    for thing, chance in chances.items())
    freedom = len(chances) - 1  # the statistic's mean; its variance is twice that
    assert statistic < freedom + 5 * math.sqrt(2 * freedom), statistic


def test_rows_and_calls_are_drawn_independently():
    layer = layers.TimeIndex(1.0, seed=6)
    first, second = (layer(full(500, 20), training=True).numpy() for _ in range(2))
    assert len({tuple(row) for row in first}) > 440  # no blank, or one, leaves few choices
    assert (first != second).any(axis=1).mean() > 0.98
    again = layers.TimeIndex(1.0, seed=6)
    np.testing.assert_array_equal(again(full(500, 20), training=True), first)
    keras.utils.set_random_seed(1)
    np.testing.assert_array_equal(again(full(500, 20), training=True), second)


def test_a_place_without_a_memory_takes_no_time():
    """The same number of memories is drawn alike wherever they stand."""
    near, far = np.zeros((2, 3000, 10), bool)
    near[:, 7:], far[:, [0, 4, 9]] = True, True
    drawn = [layers.TimeIndex(0.5, seed=7)(mask, training=True).numpy()[mask] for mask in (near, far)]
    np.testing.assert_array_equal(*drawn)


def test_noise_must_not_be_negative():
    with pytest.raises(ValueError, match="negative, got -0.1"):
        layers.TimeIndex(-0.1)
