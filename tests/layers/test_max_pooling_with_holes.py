"""Maximum pooling that keeps all places, against a plain loop and the pooling that it stands for."""
import keras
import numpy as np
import pytest

import layers
from tests.layers.layer_contract import check_layer


def pooled(layer, inputs):
    reach = layer.dilation_rate * (layer.pool_size - 1)
    out = np.zeros((len(inputs), inputs.shape[1] - reach, inputs.shape[2] - reach, inputs.shape[3]), "float32")
    for i, j in np.ndindex(out.shape[1:3]):
        window = inputs[:, i:i + reach + 1:layer.dilation_rate, j:j + reach + 1:layer.dilation_rate]
        out[:, i, j] = window.max(axis=(1, 2))
    return out


@pytest.mark.parametrize("size, rate", [(2, 3), (3, 2)])
def test_contract(size, rate, tmp_path):
    x = np.random.default_rng(0).permutation(2 * 9 * 7 * 3).reshape(2, 9, 7, 3).astype("float32") / 8  # no two are equal
    check_layer(lambda **options: layers.MaxPoolingWithHoles(size, rate, **options), {"inputs": x}, pooled, tmp_path)


def test_every_second_place_is_plain_pooling():
    x = np.random.default_rng(0).normal(size=(2, 8, 10, 3)).astype("float32")
    once = layers.MaxPoolingWithHoles(2, 1)(x)
    np.testing.assert_array_equal(once[:, ::2, ::2], keras.layers.MaxPooling2D(2)(x))
    twice = layers.MaxPoolingWithHoles(2, 2)(once)
    np.testing.assert_array_equal(twice[:, ::4, ::4][:, :2, :2], keras.layers.MaxPooling2D(4)(x))


@pytest.mark.parametrize("arguments", [(0, 1), (2, 0)])
def test_arguments_are_checked(arguments):
    with pytest.raises(ValueError, match="at least 1"):
        layers.MaxPoolingWithHoles(*arguments)
