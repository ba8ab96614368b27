"""Exponential linear units, against the equation in numpy and Keras's own layer."""
import keras
import numpy as np
import pytest
import tensorflow as tf

import layers
from tests.layers.layer_contract import check_layer

INPUTS = np.random.default_rng(0).normal(scale=2, size=(4, 5, 3)).astype("float32")


def by_the_equation(layer, inputs):
    return np.where(inputs > 0, inputs, layer.alpha * (np.exp(inputs.astype("float64")) - 1))


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_contract(alpha, tmp_path):
    check_layer(lambda **options: layers.ELU(alpha, **options), {"inputs": INPUTS}, by_the_equation, tmp_path)


@pytest.mark.parametrize("alpha", [0.3, 1.0, 2.5])
def test_outputs_and_gradients_equal_those_of_keras(alpha):
    results = []
    for layer in (layers.ELU(alpha), keras.layers.ELU(alpha)):
        inputs = tf.constant(INPUTS)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs)
        results.append([outputs, tape.gradient(outputs, inputs)])
    for ours, theirs in zip(*results):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.7, 1.0, 2.5])
def test_the_gradient_is_taken_from_the_output(alpha):
    inputs = tf.constant(INPUTS)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layers.ELU(alpha)(inputs)
    expected = tf.where(outputs > 0, 1.0, outputs + alpha)  # to the last bit, which alpha * exp(x) is not
    np.testing.assert_array_equal(tape.gradient(outputs, inputs), expected)


@pytest.mark.parametrize("mode", [{"run_eagerly": True}, {}, {"jit_compile": True}], ids=["eager", "graph", "XLA"])
@pytest.mark.parametrize("alpha", [0.7, 1.0])
def test_second_and_third_derivatives(alpha, mode):
    layer = layers.ELU(alpha, dtype="float64")

    def derivatives(x):
        with tf.GradientTape() as third:
            third.watch(x)
            with tf.GradientTape() as second:
                second.watch(x)
                with tf.GradientTape() as first:
                    first.watch(x)
                    y = layer(x)
                slope = first.gradient(y, x)
            bend = second.gradient(slope, x)
        return slope, bend, third.gradient(bend, x)

    x = np.linspace(-4, 4, 8)
    below = np.where(x > 0, 0, alpha * np.exp(x))
    found = (derivatives if "run_eagerly" in mode else tf.function(derivatives, **mode))(tf.constant(x))
    np.testing.assert_allclose(found[0], below + (x > 0), rtol=1e-12)
    np.testing.assert_allclose(found[1], below, rtol=1e-12)
    np.testing.assert_allclose(found[2], below, rtol=1e-12)


@pytest.mark.parametrize("precision, most", [("float32", 3e38), ("mixed_float16", 65504), ("mixed_bfloat16", 3e38)])
def test_large_inputs_have_finite_derivatives(precision, most):
    layer = layers.ELU(0.7, dtype=precision)
    inputs = tf.cast([-most, -100, 0, 100, most, float("inf")], layer.compute_dtype)
    with tf.GradientTape() as second:
        second.watch(inputs)
        with tf.GradientTape() as first:
            first.watch(inputs)
            outputs = layer(inputs)
        slope = first.gradient(outputs, inputs)
    np.testing.assert_allclose(tf.cast(outputs, "float32")[:3], [-0.7, -0.7, 0], rtol=0.01)
    np.testing.assert_array_equal(outputs[3:], inputs[3:])
    np.testing.assert_allclose(tf.cast(slope, "float32"), [0, 0, 0.7, 1, 1, 1], rtol=0.01)
    np.testing.assert_allclose(tf.cast(second.gradient(slope, inputs), "float32"), [0, 0, 0.7, 0, 0, 0], rtol=0.01)


@pytest.mark.parametrize("alpha", [0, -1, float("nan")])
def test_arguments_are_checked(alpha):
    with pytest.raises(ValueError, match="must be positive"):
        layers.ELU(alpha)
