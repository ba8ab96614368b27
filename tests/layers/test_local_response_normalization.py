"""Local response normalization, against a plain loop and TensorFlow's kernel."""
import numpy as np
import pytest
import tensorflow as tf

import layers
from tests.layers.layer_contract import check_layer

IMAGES = np.random.default_rng(0).normal(size=(2, 3, 4, 9)).astype("float32")


def by_the_equation(layer, inputs):
    inputs = inputs.astype("float64")
    found = np.empty(inputs.shape)
    for channel in range(inputs.shape[-1]):
        around = inputs[..., max(channel - layer.size // 2, 0):channel + layer.size // 2 + 1]
        found[..., channel] = inputs[..., channel] / (layer.k + layer.alpha * (around**2).sum(axis=-1)) ** layer.beta
    return found


@pytest.mark.parametrize("settings", [dict(size=3, k=1.5, alpha=0.3, beta=0.6), dict(size=7, k=0.5, alpha=2.0, beta=1.2)], ids=str)
def test_contract(settings, tmp_path):
    check_layer(lambda **options: layers.LocalResponseNormalization(**settings, **options), {"inputs": IMAGES}, by_the_equation, tmp_path)


@pytest.mark.parametrize("size, alpha", [(1, 0.5), (5, 1e-4), (5, 1.0), (99, 0.1)])
def test_outputs_and_gradients_equal_those_of_the_kernel(size, alpha):
    results = []
    for function in (layers.LocalResponseNormalization(size, alpha=alpha),
                     lambda x: tf.nn.local_response_normalization(x, size // 2, bias=2.0, alpha=alpha, beta=0.75)):
        images = tf.constant(10 * IMAGES)
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = function(images)
            loss = tf.reduce_sum(outputs * tf.sin(outputs))
        results.append([outputs, tape.gradient(loss, images)])
    for ours, theirs in zip(*results):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_channel_is_lowered_by_those_around_it_only():
    layer = layers.LocalResponseNormalization(5, alpha=1.0)
    before = layer(IMAGES).numpy()
    louder = IMAGES.copy()
    louder[..., 4] = 50
    change = np.abs(layer(louder).numpy()) / np.abs(before)
    assert change[..., [2, 3, 5, 6]].max() < 0.5
    np.testing.assert_allclose(change[..., [0, 1, 7, 8]], 1, rtol=1e-6)


def test_without_alpha_it_is_a_constant_factor():
    np.testing.assert_allclose(layers.LocalResponseNormalization(k=16.0, alpha=0)(IMAGES), IMAGES / 8, rtol=1e-5)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_squares_do_not_overflow_under_low_precision(precision):
    layer = layers.LocalResponseNormalization(dtype=precision)
    images = tf.cast(1000 * IMAGES, layer.compute_dtype)
    exact = by_the_equation(layer, tf.cast(images, "float32").numpy())
    np.testing.assert_allclose(tf.cast(layer(images), "float32"), exact, rtol=0.01)


@pytest.mark.parametrize("settings", [dict(size=4), dict(size=-1), dict(k=0), dict(alpha=-1e-4)], ids=str)
def test_arguments_are_checked(settings):
    with pytest.raises(ValueError, match="must be"):
        layers.LocalResponseNormalization(**settings)


def test_inputs_are_checked():
    with pytest.raises(ValueError, match="takes"):
        layers.LocalResponseNormalization()(np.zeros((2, 3, 4), "float32"))
