"""Trainable subsampling, against a plain loop and Keras's average pooling."""
import keras
import numpy as np
import pytest

import layers
from tests.layers.layer_contract import check_layer

IMAGES = np.random.default_rng(0).normal(size=(2, 8, 7, 5)).astype("float32")


def block_by_block(layer, inputs):
    coefficient, bias = layer.get_weights()
    size = layer.pool_size
    found = np.empty((len(inputs), inputs.shape[1] // size, inputs.shape[2] // size, inputs.shape[3]))
    for i, j in np.ndindex(found.shape[1:3]):
        block = inputs[:, i * size:(i + 1) * size, j * size:(j + 1) * size]
        found[:, i, j] = coefficient * block.sum(axis=(1, 2), dtype="float64") + bias
    return found


@pytest.mark.parametrize("pool_size", [2, 3])
def test_contract(pool_size, tmp_path):
    check_layer(lambda **options: layers.Subsampling(pool_size, **options), {"inputs": IMAGES}, block_by_block, tmp_path)


@pytest.mark.parametrize("pool_size", [1, 2, 3, 7])
def test_it_starts_as_average_pooling(pool_size):
    expected = keras.layers.AveragePooling2D(pool_size)(IMAGES)
    np.testing.assert_allclose(layers.Subsampling(pool_size)(IMAGES), expected, rtol=1e-5, atol=1e-6)


def test_s2_of_lenet5_has_12_parameters():
    layer = layers.Subsampling()
    layer.build((None, 28, 28, 6))
    assert layer.count_params() == 12
    assert layer.compute_output_shape((None, 28, 28, 6)) == (None, 14, 14, 6)
    np.testing.assert_array_equal(layer.coefficient.value, [0.25] * 6)


def test_maps_have_numbers_of_their_own():
    layer = layers.Subsampling()
    before = layer(IMAGES).numpy()
    layer.set_weights(np.array([[0.25, 0.5, 0.25, 0, 0.25], [0, 0, 3, 1, 0]]))
    np.testing.assert_allclose(layer(IMAGES), before * [1, 2, 1, 0, 1] + [0, 0, 3, 1, 0], rtol=1e-5, atol=1e-6)


def test_images_of_any_size():
    images = keras.Input((None, None, 5))
    model = keras.Model(images, layers.Subsampling(3)(images))
    assert model.output_shape == (None, None, None, 5)
    assert model(IMAGES).shape == (2, 2, 2, 5)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="must be at least 1"):
        layers.Subsampling(0)


@pytest.mark.parametrize("shape, complaint", [((2, 3, 4), "takes"), ((2, 8, 2, 3), "no block")])
def test_inputs_are_checked(shape, complaint):
    with pytest.raises(ValueError, match=complaint):
        layers.Subsampling(3)(np.zeros(shape, "float32"))
