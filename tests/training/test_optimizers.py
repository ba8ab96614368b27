"""Optimizers by name: their steps, decay and noise."""
import keras
import numpy as np
import pytest
import tensorflow as tf

import layers
from training.engine import optimizers


def weight(shape=(3,), value=1.0, name="kernel"):
    return keras.Variable(np.full(shape, value, "float32"), name=name)


@pytest.mark.parametrize("name", optimizers.NAMES)
def test_each_goes_downhill(name):
    x = weight()
    made = optimizers.make(name, 0.05)
    for _ in range(50):
        made.apply([2 * x.value], [x])  # of |x|^2
    assert np.abs(x.numpy()).max() < 0.9


def test_momentum_and_nesterov_are_those_of_their_equations():
    for name in ("momentum", "nesterov"):
        x, plain, velocity = weight(), np.ones(3), np.zeros(3)
        made = optimizers.make(name, 0.1)
        for step in range(5):
            gradient = 2 * plain
            velocity = 0.9 * velocity - 0.1 * gradient
            plain = plain + (0.9 * velocity - 0.1 * gradient if name == "nesterov" else velocity)
            made.apply([2 * x.value], [x])
        np.testing.assert_allclose(x.numpy(), plain, rtol=1e-5)


def test_adam_corrects_the_bias_of_its_first_step():
    x = weight()
    optimizers.make("adam", 0.1).apply([tf.constant([1e-3, 1.0, 50.0])], [x])
    np.testing.assert_allclose(x.numpy(), [0.9] * 3, rtol=1e-3)  # without, it would be 0.1 / sqrt(0.001) * 0.1 = 0.316


def test_weights_decay_but_no_biases_and_scales():
    slopes, subsampling = keras.layers.PReLU(), layers.Subsampling(2)
    slopes.build((None, 3))
    subsampling.build((None, 4, 4, 3))
    subsampling.coefficient.assign(np.ones(3))
    slopes.alpha.assign(np.ones(3))
    kept = [*(weight(name=name) for name in ("gamma", "beta", "bias")), slopes.alpha, subsampling.coefficient]
    kernel = weight()
    made = optimizers.make("sgd", 0.1, weight_decay=0.5)
    made.apply([tf.zeros(3)] * 6, [kernel, *kept])
    np.testing.assert_allclose(kernel.numpy(), [0.95] * 3, rtol=1e-6)
    assert all(np.array_equal(x.numpy(), np.ones(3)) for x in kept)


def test_the_rate_rises_and_falls():
    rate = optimizers.warmup_cosine(2.0, 100)
    rates = [float(rate(step)) for step in (0, 5, 10, 55, 100)]
    np.testing.assert_allclose(rates, [0, 1, 2, 1, 0], atol=1e-5)


def test_the_noise_has_the_variance_of_its_step_and_is_a_function_of_seed_and_step():
    def steps(seed):
        x = weight((20_000,), 0.0)
        made = optimizers.make("sgd", 1.0, gradient_noise=0.3, seed=seed)
        found = []
        for _ in range(3):
            before = x.numpy()
            made.apply([tf.zeros(20_000)], [x])
            found.append(x.numpy() - before)
        return found

    first, again, other = steps(1), steps(1), steps(2)
    for step, noise in enumerate(first):
        assert noise.var() == pytest.approx(0.3 / (1 + step) ** 0.55, rel=0.05)
        assert abs(noise.mean()) < 0.02
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(first, again))
    assert abs(np.corrcoef(first[0], other[0])[0, 1]) < 0.05
    assert abs(np.corrcoef(first[0], first[1])[0, 1]) < 0.05


def test_two_weights_of_one_shape_get_different_noise():
    one, two = weight((1000,)), weight((1000,))
    optimizers.make("momentum", 1.0, gradient_noise=1.0).apply([tf.zeros(1000)] * 2, [one, two])
    assert abs(np.corrcoef(one.numpy(), two.numpy())[0, 1]) < 0.15
