"""The largest of several convolutions, against one convolution for each piece."""
import keras
import numpy as np
import pytest
import tensorflow as tf

import layers
from tests.layers.layer_contract import check_layer

IMAGES = np.random.default_rng(0).normal(size=(2, 7, 6, 5)).astype("float32")


def largest(layer, inputs):
    kernel, bias = layer.get_weights()
    pieces = [slice(piece * layer.filters, (piece + 1) * layer.filters) for piece in range(layer.pieces)]
    return np.max([keras.ops.conv(inputs, kernel[..., piece], layer.strides, layer.padding) + bias[piece] for piece in pieces], axis=0)


@pytest.mark.parametrize("settings", [dict(kernel_size=3, pieces=2), dict(kernel_size=(2, 3), pieces=3, strides=(2, 1), padding="same")], ids=str)
def test_contract(settings, tmp_path):
    constraint = keras.constraints.MaxNorm(2, axis=[0, 1, 2])
    check_layer(lambda **options: layers.MaxoutConv2D(filters=4, bias_initializer="random_normal", kernel_initializer="he_normal",
                                                      kernel_constraint=constraint, **settings, **options),
                {"inputs": IMAGES}, largest, tmp_path)


def test_one_place_is_a_maxout():
    """Where the kernel covers the whole image, the convolution is an affine function of it."""
    convolution, dense = layers.MaxoutConv2D(4, (7, 6), 3), layers.Maxout(4, 3)
    flat = IMAGES.reshape(2, -1)
    convolution.build(IMAGES.shape)
    dense.build(flat.shape)
    kernel, bias = convolution.get_weights()
    dense.set_weights([kernel.reshape(-1, 12), bias])
    np.testing.assert_allclose(convolution(IMAGES)[:, 0, 0], dense(flat), rtol=1e-4, atol=1e-5)


def test_with_a_second_piece_of_zeros_it_is_relu():
    layer = layers.MaxoutConv2D(4, 3, 2)
    layer.build(IMAGES.shape)
    kernel = np.random.default_rng(1).normal(size=(3, 3, 5, 4)).astype("float32")
    layer.set_weights([np.concatenate([kernel, np.zeros_like(kernel)], axis=-1), np.zeros(8)])
    np.testing.assert_allclose(layer(IMAGES), keras.ops.relu(keras.ops.conv(IMAGES, kernel)), rtol=1e-5, atol=1e-5)


def test_only_the_winning_piece_gets_a_gradient():
    """The gradient of a bias counts the places that its piece wins."""
    layer = layers.MaxoutConv2D(4, 3, 3, bias_initializer="random_normal")
    layer.build(IMAGES.shape)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(IMAGES))
    winners = layer.convolution(IMAGES).numpy().reshape(-1, 3, 4).argmax(axis=1)
    np.testing.assert_allclose(tape.gradient(total, layer.convolution.bias.value),
                               np.ravel([(winners == piece).sum(axis=0) for piece in range(3)]))


def test_the_bias_has_its_initializer():
    layer = layers.MaxoutConv2D(4, 3, 2, bias_initializer=keras.initializers.Constant(0.1))
    layer.build(IMAGES.shape)
    np.testing.assert_array_equal(layer.convolution.bias.value, np.full(8, 0.1, "float32"))


@pytest.mark.parametrize("initializer, variance", [("he_normal", 2 / 270), ("glorot_normal", 2 / (270 + 9 * 40))])
def test_the_fan_in_is_that_of_one_filter(initializer, variance):
    layer = layers.MaxoutConv2D(20, 3, 2, kernel_initializer=initializer)
    layer.build((None, 8, 8, 30))
    assert layer.convolution.kernel.value.numpy().var() == pytest.approx(variance, rel=0.06)


def test_the_norm_of_each_filters_incoming_weights_is_bounded():
    layer = layers.MaxoutConv2D(4, 3, 2, kernel_constraint=keras.constraints.MaxNorm(0.9, axis=[0, 1, 2]))
    layer.build(IMAGES.shape)
    before = layer.convolution.kernel.value.numpy() * np.linspace(0.3, 2, 8)
    layer.convolution.kernel.assign(before)
    keras.optimizers.SGD(0.1).apply([np.zeros(w.shape, "float32") for w in layer.trainable_variables], layer.trainable_variables)
    norms = np.sqrt(np.square(before).sum(axis=(0, 1, 2)))
    assert norms.min() < 0.9 < norms.max()
    np.testing.assert_allclose(layer.convolution.kernel.value, before * np.minimum(1, 0.9 / norms), rtol=1e-5)


@pytest.mark.parametrize("settings", [dict(filters=0, pieces=2), dict(filters=3, pieces=0)], ids=str)
def test_arguments_are_checked(settings):
    with pytest.raises(ValueError, match="must be at least 1"):
        layers.MaxoutConv2D(kernel_size=3, **settings)


def test_inputs_are_checked():
    with pytest.raises(ValueError, match="takes"):
        layers.MaxoutConv2D(3, 3, 2)(np.zeros((2, 3, 4), "float32"))
