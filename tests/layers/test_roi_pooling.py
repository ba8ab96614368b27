"""Features of regions by the maximum, against a plain loop."""
import math

import numpy as np
import pytest

import layers
from tests.layers import plain_boxes
from tests.layers.layer_contract import check_layer


def pooled(layer, boxes_yxyx, features):
    size, cells = layer.size, features.shape[1:3]
    found = np.zeros((*boxes_yxyx.shape[:2], size, size, features.shape[-1]))
    for row, region in np.ndindex(boxes_yxyx.shape[:2]):
        top, left, bottom, right = (math.floor(side / layer.stride + 0.5) for side in boxes_yxyx[row, region].astype("float64"))
        height, width = max(bottom - top + 1, 1), max(right - left + 1, 1)
        for i, j in np.ndindex(size, size):
            rows = range(max(top + i * height // size, 0), min(top - (-(i + 1) * height // size), cells[0]))
            columns = range(max(left + j * width // size, 0), min(left - (-(j + 1) * width // size), cells[1]))
            if rows and columns:
                found[row, region, i, j] = features[row][np.ix_(rows, columns)].max(axis=(0, 1))
    return found


def test_contract(tmp_path):
    features = np.random.default_rng(0).normal(size=(2, 9, 8, 5)).astype("float32")
    boxes_yxyx = plain_boxes.random_boxes(2, 7, image=36, smallest=1, largest=30)  # some stick out
    check_layer(lambda **options: layers.RoIPooling(3, 4, **options), {"boxes_yxyx": boxes_yxyx, "features": features}, pooled,
                tmp_path, constant=["boxes_yxyx"])


@pytest.mark.parametrize("size, stride", [(1, 1), (7, 2.5), (4, 16)])
def test_equals_the_plain_loop(size, stride):
    features = np.random.default_rng(1).normal(size=(1, 11, 13, 2)).astype("float32")
    boxes_yxyx = plain_boxes.random_boxes(1, 60, seed=2, image=11 * stride, largest=14 * stride)
    layer = layers.RoIPooling(size, stride)
    np.testing.assert_array_equal(layer(boxes_yxyx, features), pooled(layer, boxes_yxyx, features).astype("float32"))


def test_a_whole_map_is_global_max_pooling():
    features = np.random.default_rng(1).normal(size=(2, 6, 5, 3)).astype("float32")
    whole = np.tile(np.array([0, 0, 5 * 8, 4 * 8], "float32"), (2, 1, 1))  # the last cell is meant, not the one after it
    np.testing.assert_array_equal(layers.RoIPooling(1, 8)(whole, features)[:, 0, 0, 0], features.max(axis=(1, 2)))


def test_bins_off_the_map_are_zero():
    features = np.full((1, 4, 5, 1), -3, "float32")  # below zero, so that no bin is zero by itself
    found = layers.RoIPooling(2, 1)(np.array([[[0, 0, 7, 3], [20, 20, 30, 30]]], "float32"), features)
    assert found.numpy()[0, :, :, :, 0].tolist() == [[[-3, -3], [0, 0]], [[0, 0], [0, 0]]]


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_boxes_stay_float32_under_low_precision(precision):
    features = np.zeros((1, 2, 310, 1), "float32")
    features[0, :, 301] = 1  # bfloat16 knows 300 and 302 only
    found = layers.RoIPooling(1, 1, dtype=precision)(np.array([[[0, 301, 1, 301], [0, 300, 1, 300]]], "float32"), features)
    assert np.ravel(found).tolist() == [1, 0]


@pytest.mark.parametrize("size, stride", [(0, 4), (2, 0)])
def test_arguments_are_checked(size, stride):
    with pytest.raises(ValueError, match="must be at least 1"):
        layers.RoIPooling(size, stride)
