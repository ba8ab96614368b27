"""The largest of several affine functions, against a plain loop."""
import keras
import numpy as np
import pytest
import tensorflow as tf

import layers
from tests.layers.layer_contract import check_layer


def largest(layer, inputs):
    kernel, bias = (np.asarray(w, "float64") for w in layer.get_weights())
    found = np.empty((*inputs.shape[:-1], layer.units))
    for *row, unit in np.ndindex(found.shape):
        columns = [piece * layer.units + unit for piece in range(layer.pieces)]
        found[(*row, unit)] = max(inputs[tuple(row)] @ kernel[:, column] + bias[column] for column in columns)
    return found


def some_inputs(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


@pytest.mark.parametrize("shape, pieces", [((2, 5), 3), ((3, 6, 2, 5), 2)])
def test_contract(shape, pieces, tmp_path):
    check_layer(lambda **options: layers.Maxout(7, pieces, "he_normal", "random_normal", "l2", keras.constraints.MaxNorm(2), **options),
                {"inputs": some_inputs(*shape)}, largest, tmp_path)


def test_with_a_second_piece_of_zeros_it_is_relu():
    layer, inputs = layers.Maxout(4, 2), some_inputs(6, 5)
    layer.build(inputs.shape)
    kernel = some_inputs(5, 4)
    layer.set_weights([np.concatenate([kernel, np.zeros((5, 4))], axis=1), np.zeros(8)])
    np.testing.assert_allclose(layer(inputs), np.maximum(inputs @ kernel, 0), rtol=1e-5, atol=1e-6)


def test_it_represents_the_absolute_value():
    layer, inputs = layers.Maxout(3, 2), some_inputs(6, 3)
    layer.build(inputs.shape)
    layer.set_weights([np.concatenate([np.eye(3), -np.eye(3)], axis=1), np.zeros(6)])
    np.testing.assert_array_equal(layer(inputs), np.abs(inputs))


@pytest.mark.parametrize("pieces", [1, 5])
def test_it_is_convex_and_affine_with_one_piece(pieces):
    layer = layers.Maxout(4, pieces, bias_initializer="random_normal")
    one, other = 3 * some_inputs(2, 100, 6)
    chord = (layer(one) + layer(other)).numpy() / 2
    sag = chord - layer((one + other) / 2).numpy()
    assert sag.min() > -1e-5
    assert (sag.max() > 0.1) == (pieces > 1)


def test_only_the_winning_piece_gets_a_gradient():
    layer, inputs = layers.Maxout(4, 3), some_inputs(1, 5)
    layer.build(inputs.shape)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(inputs))
    gradient = tape.gradient(total, layer.affine.kernel.value).numpy().reshape(5, 3, 4)
    winners = layer.affine(inputs).numpy().reshape(3, 4).argmax(axis=0)
    for piece, unit in np.ndindex(3, 4):
        np.testing.assert_array_equal(gradient[:, piece, unit], inputs[0] * (winners[unit] == piece))


def test_of_equal_pieces_one_gets_the_gradient():
    layer, inputs = layers.Maxout(4, 3, "zeros"), some_inputs(1, 5)
    layer.build(inputs.shape)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(inputs))
    np.testing.assert_array_equal(tape.gradient(total, layer.affine.bias.value), [1] * 4 + [0] * 8)


def test_the_bias_has_its_initializer():
    layer = layers.Maxout(4, 3, bias_initializer=keras.initializers.Constant(0.1))
    layer.build((None, 5))
    np.testing.assert_array_equal(layer.affine.bias.value, np.full(12, 0.1, "float32"))


@pytest.mark.parametrize("initializer, variance", [("he_normal", 2 / 300), ("lecun_uniform", 1 / 300), ("glorot_normal", 2 / 500)])
def test_the_fan_in_is_that_of_one_affine_function(initializer, variance):
    layer = layers.Maxout(50, 4, initializer)
    layer.build((None, 300))
    assert layer.affine.kernel.value.numpy().var() == pytest.approx(variance, rel=0.05)


def test_the_norm_of_each_functions_incoming_weights_is_bounded_and_the_kernel_regularized():
    layer = layers.Maxout(4, 3, kernel_regularizer=keras.regularizers.L1(0.5), kernel_constraint=keras.constraints.MaxNorm(0.6, axis=0))
    layer.build((None, 5))
    before = some_inputs(5, 12) * np.linspace(0.1, 2, 12, dtype="float32")
    layer.affine.kernel.assign(before)
    assert float(layer.losses[0]) == pytest.approx(0.5 * np.abs(before).sum(), rel=1e-5)
    keras.optimizers.SGD(0.1).apply([np.zeros(w.shape, "float32") for w in layer.trainable_variables], layer.trainable_variables)
    norms = np.linalg.norm(before, axis=0)
    assert norms.min() < 0.6 < norms.max()
    np.testing.assert_allclose(layer.affine.kernel.value, before * np.minimum(1, 0.6 / norms), rtol=1e-5)


@pytest.mark.parametrize("units, pieces", [(0, 2), (3, 0)])
def test_arguments_are_checked(units, pieces):
    with pytest.raises(ValueError, match="must be at least 1"):
        layers.Maxout(units, pieces)
