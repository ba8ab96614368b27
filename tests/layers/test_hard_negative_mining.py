"""Which places a detector learns its classes from, against a plain reading of the rule."""
import numpy as np
import pytest

import layers
from tests.layers.layer_contract import check_layer

BACKGROUND, NEITHER = -1, -2


def hardest(layer, losses, matches):
    weights = np.zeros(matches.shape)
    for row, (loss, match) in enumerate(zip(losses, matches)):
        background = sorted(np.flatnonzero(match == BACKGROUND), key=lambda place: (-loss[place], place))
        weights[row, match >= 0] = 1
        weights[row, background[:max(layer.ratio * (match >= 0).sum(), layer.least)]] = 1
    return weights


def scene():
    random = np.random.default_rng(0)
    matches = random.choice([NEITHER, BACKGROUND, BACKGROUND, BACKGROUND, BACKGROUND, 0, 1], size=(5, 31)).astype("int32")
    matches[1] = np.where(matches[1] >= 0, BACKGROUND, matches[1])  # no object
    matches[2, :20] = 0  # too little background
    losses = random.uniform(0, 5, matches.shape).astype("float32")
    losses[3] = np.round(losses[3])  # many equal losses
    return {"losses": losses, "matches": matches}


@pytest.mark.parametrize("ratio, least", [(1, 0), (2, 7), (3, 0)])
def test_contract(ratio, least, tmp_path):
    check_layer(lambda **options: layers.HardNegativeMining(ratio, least, **options), scene(), hardest, tmp_path, discrete=True,
                always_float32=True)


@pytest.mark.parametrize("ratio, objects, background, expected", [(3, 7, 100, 21), (3, 7, 21, 21), (3, 7, 20, 20), (5, 2, 100, 10),
                                                                  (3, 0, 100, 0), (3, 1, 0, 0)])
def test_the_ratio_is_exact_even_if_all_losses_are_equal(ratio, objects, background, expected):
    matches = np.random.default_rng(1).permutation([0] * objects + [BACKGROUND] * background + [NEITHER] * 9)[None]
    for losses in (np.ones(matches.shape, "float32"), np.zeros(matches.shape, "float32")):
        weights = np.asarray(layers.HardNegativeMining(ratio)(losses, matches))
        assert weights[matches >= 0].all() and not weights[matches == NEITHER].any()
        assert weights[matches == BACKGROUND].sum() == expected


def test_a_harder_place_is_never_left_out_for_an_easier_one():
    given = scene()
    weights = np.asarray(layers.HardNegativeMining(2)(**given))
    for loss, match, weight in zip(given["losses"], given["matches"], weights):
        background = match == BACKGROUND
        chosen, left = loss[background & (weight == 1)], loss[background & (weight == 0)]
        assert chosen.min(initial=np.inf) >= left.max(initial=-np.inf)


def test_the_ratio_is_checked():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        layers.HardNegativeMining(0)
    with pytest.raises(ValueError, match="not be negative, got -1"):
        layers.HardNegativeMining(3, -1)
