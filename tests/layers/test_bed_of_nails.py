"""Zeros between the values, against plain indexing, and its relation to the transposed convolution."""
import keras
import numpy as np
import pytest

import layers
from tests.layers.layer_contract import check_layer


def nails(layer, inputs):
    batch, height, width, channels = inputs.shape
    out = np.zeros((batch, height * layer.size, width * layer.size, channels), "float32")
    out[:, ::layer.size, ::layer.size] = inputs
    return out


def test_contract(tmp_path):
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype("float32")
    check_layer(lambda **options: layers.BedOfNails(3, **options), {"inputs": x}, nails, tmp_path)


def test_with_a_convolution_it_is_a_transposed_convolution():
    x = np.random.default_rng(0).normal(size=(2, 5, 4, 3)).astype("float32")
    kernel = np.random.default_rng(1).normal(size=(2, 2, 6, 3)).astype("float32")  # 2x2 kernels of stride 2 do not overlap
    transposed = keras.ops.conv_transpose(x, kernel, strides=2, padding="valid")
    sparse = np.pad(layers.BedOfNails(2)(x), [(0, 0), (1, 0), (1, 0), (0, 0)])
    convolved = keras.ops.conv(sparse, kernel[::-1, ::-1].transpose(0, 1, 3, 2), padding="valid")
    np.testing.assert_allclose(convolved, transposed, atol=1e-5)


def test_a_size_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        layers.BedOfNails(0)
