"""Batch normalization by the fused kernel, against Keras's own layer."""
import keras
import numpy as np
import pytest
import tensorflow as tf

import layers
from tests.layers.layer_contract import check_layer

IMAGES = np.random.default_rng(0).normal(2, 3, (4, 7, 6, 5)).astype("float32")
COUNT = 4 * 7 * 6


def keras_twin(layer):
    twin = keras.layers.BatchNormalization(momentum=layer.momentum, epsilon=layer.epsilon)
    twin.build((None, None, None, 5))
    twin.set_weights(layer.get_weights())
    return twin


def pair(**settings):
    """Returns our layer and Keras's, with equal weights that are neither zeros nor ones."""
    layer = layers.BatchNormalization(momentum=0.8, epsilon=1e-2, **settings)
    layer.build(IMAGES.shape)
    random = np.random.default_rng(1)
    layer.set_weights([random.uniform(0.5, 2, 5) for _ in layer.weights])
    return layer, keras_twin(layer)


@pytest.mark.parametrize("training", [False, True])
def test_contract(training, tmp_path):
    """In float64 the layer is a plain formula; the contract holds the kernel and its gradient against it."""
    check_layer(lambda **options: layers.BatchNormalization(0.8, 1e-2, "random_normal", **options), {"inputs": IMAGES},
                lambda layer, inputs: keras_twin(layer)(inputs, training=training), tmp_path, training=training,
                rows_depend_on_batch=training)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("trainable", [False, True])
def test_outputs_gradients_and_statistics_equal_those_of_keras(training, trainable):
    results = []
    for layer in pair():
        layer.trainable = trainable
        inputs = tf.constant(IMAGES)
        with tf.GradientTape() as tape:
            tape.watch([inputs, layer.gamma.value, layer.beta.value])
            outputs = layer(inputs, training=training)
            loss = tf.reduce_sum(outputs * tf.sin(outputs))
        gradients = tape.gradient(loss, [inputs, layer.gamma.value, layer.beta.value])
        results.append([outputs, *gradients, layer.moving_mean.value])
    for ours, theirs in zip(*results):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_moving_variance_is_that_of_a_sample(dtype):
    layer, twin = pair(dtype=dtype)
    before = layer.moving_variance.value.numpy()
    layer(IMAGES, training=True)
    twin(IMAGES, training=True)
    added, of_keras = (x.moving_variance.value.numpy() - 0.8 * before for x in (layer, twin))
    np.testing.assert_allclose(added, 0.2 * IMAGES.reshape(-1, 5).var(axis=0, ddof=1), rtol=1e-4)
    np.testing.assert_allclose(added, of_keras * COUNT / (COUNT - 1), rtol=1e-4)


def test_statistics_stay_when_nothing_is_learned():
    for settings, training in (({"trainable": False}, True), ({}, False)):
        layer, _ = pair(**settings)
        before = layer.get_weights()
        layer(IMAGES, training=training)
        assert all(np.array_equal(a, b) for a, b in zip(before, layer.get_weights()))


def test_training_normalizes():
    layer = layers.BatchNormalization()
    outputs = layer(IMAGES, training=True).numpy().reshape(-1, 5)
    np.testing.assert_allclose(outputs.mean(axis=0), np.zeros(5), atol=1e-5)
    np.testing.assert_allclose(outputs.std(axis=0), np.ones(5), rtol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_single_position_is_finite(dtype):
    layer = layers.BatchNormalization(dtype=dtype)
    outputs = layer(np.full((1, 1, 1, 3), 5, dtype), training=True)
    assert not np.any(outputs)
    np.testing.assert_allclose(layer.moving_variance.value, [0.9] * 3, rtol=1e-6)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_statistics_stay_float32_under_low_precision(precision):
    layer = layers.BatchNormalization(dtype=precision)
    images = tf.cast(IMAGES, precision.removeprefix("mixed_"))
    layer(images, training=True)
    exact = images.numpy().astype("float64").reshape(-1, 5)
    np.testing.assert_allclose(layer.moving_mean.value, 0.1 * exact.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance.value, 0.9 + 0.1 * exact.var(axis=0, ddof=1), rtol=1e-5)


def test_arguments_are_checked():
    for settings in (dict(momentum=1.0), dict(momentum=-0.1), dict(epsilon=0.0)):
        with pytest.raises(ValueError, match="must be"):
            layers.BatchNormalization(**settings)
    with pytest.raises(ValueError, match="takes"):
        layers.BatchNormalization()(np.zeros((2, 3, 4), "float32"))
