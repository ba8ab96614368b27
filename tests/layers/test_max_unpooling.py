"""Pooling that remembers positions and its inverse, against plain loops."""
import keras
import numpy as np
import pytest
import tensorflow as tf

import layers
from tests.layers.layer_contract import check_layer


def distinct(*shape):
    """Returns numbers of which no two are equal, also in low precision."""
    return np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape).astype("float32") - 60


def pooled(layer, inputs):
    size, (batch, height, width, channels) = layer.pool_size, inputs.shape
    values = np.zeros((batch, -(-height // size), -(-width // size), channels), "float32")
    positions = np.zeros(values.shape, "uint8")
    for b, i, j, c in np.ndindex(values.shape):
        window = inputs[b, size * i:size * (i + 1), size * j:size * (j + 1), c]
        row, column = np.unravel_index(window.argmax(), window.shape)
        values[b, i, j, c], positions[b, i, j, c] = window[row, column], size * row + column
    return values, positions


def unpooled(layer, inputs, positions, like):
    size, (batch, height, width, channels) = layer.pool_size, inputs.shape
    out = np.zeros((batch, size * height, size * width, channels), "float32")
    for b, i, j, c in np.ndindex(inputs.shape):
        row, column = divmod(int(positions[b, i, j, c]), size)
        out[b, size * i + row, size * j + column, c] = inputs[b, i, j, c]
    return out[:, :like.shape[1], :like.shape[2]]


@pytest.mark.parametrize("size, sides", [(2, (5, 8)), (3, (4, 7))])
def test_contract_of_pooling(size, sides, tmp_path):
    check_layer(lambda **options: layers.MaxPoolingWithArgmax(size, **options), {"inputs": distinct(2, *sides, 3)}, pooled, tmp_path)


@pytest.mark.parametrize("size, sides", [(2, (5, 7)), (3, (7, 10))])
def test_contract_of_unpooling(size, sides, tmp_path):
    small = [-(-side // size) for side in sides]
    positions = np.random.default_rng(1).integers(0, size * size, (2, *small, 1 + max(small))).astype("uint8")
    inputs = {"inputs": distinct(*positions.shape), "positions": positions, "like": distinct(2, *sides, 1)}
    check_layer(lambda **options: layers.MaxUnpooling(size, **options), inputs, unpooled, tmp_path, constant=["like"])


def test_the_values_are_those_of_keras_and_the_first_of_equal_ones_counts():
    x = np.random.default_rng(0).integers(0, 3, (4, 9, 11, 5)).astype("float32")  # many are equal
    values, positions = layers.MaxPoolingWithArgmax(2)(x)
    np.testing.assert_array_equal(values, keras.layers.MaxPooling2D(2, padding="same")(x))
    np.testing.assert_array_equal(positions, pooled(layers.MaxPoolingWithArgmax(2), x)[1])


@pytest.mark.parametrize("sides", [(8, 6), (7, 5), (1, 1), (1, 4)])
def test_what_is_unpooled_is_pooled_again(sides):
    x = np.abs(distinct(3, *sides, 2)) + 1  # above zero: the zeros of unpooling are no maxima
    pool = layers.MaxPoolingWithArgmax(2)
    values, positions = pool(x)
    back = layers.MaxUnpooling(2)(values, positions, x)
    assert back.shape == x.shape
    is_maximum = back.numpy() > 0
    np.testing.assert_array_equal(back.numpy()[is_maximum], x[is_maximum])
    np.testing.assert_array_equal(pool(back)[0], values)
    np.testing.assert_array_equal(pool(back)[1], positions)


def test_the_gradient_of_pooling_goes_to_the_maximum_only():
    x = tf.constant(distinct(1, 4, 4, 1))
    with tf.GradientTape() as tape:
        tape.watch(x)
        values, positions = layers.MaxPoolingWithArgmax(2)(x)
        total = tf.reduce_sum(values)
    expected = layers.MaxUnpooling(2)(tf.ones_like(values), positions, x)
    np.testing.assert_array_equal(tape.gradient(total, x), expected)


@pytest.mark.parametrize("kind", [layers.MaxPoolingWithArgmax, layers.MaxUnpooling])
@pytest.mark.parametrize("size", [0, 17])
def test_arguments_are_checked(kind, size):
    with pytest.raises(ValueError, match="from 1 to 16"):
        kind(size)
