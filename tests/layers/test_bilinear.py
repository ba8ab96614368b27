"""The bilinear kernel enlarges as bilinear interpolation does."""
import keras
import numpy as np
import pytest
import tensorflow as tf

import layers


@pytest.mark.parametrize("stride", [2, 3, 4, 8])
def test_it_enlarges_by_interpolation(stride):
    kernel = 2 * stride - stride % 2
    enlarge = keras.layers.Conv2DTranspose(3, kernel, stride, padding="same", use_bias=False,
                                           kernel_initializer=layers.BilinearInitializer())
    x = np.random.default_rng(0).normal(size=(2, 7, 6, 3)).astype("float32")
    expected = tf.image.resize(x, (7 * stride, 6 * stride), method="bilinear")
    inside = np.s_[:, stride:-stride, stride:-stride]  # at the border, interpolation has no zeros to fade to
    np.testing.assert_allclose(enlarge(x)[inside], expected[inside], atol=1e-5)


def test_it_is_serialized():
    layer = keras.layers.Conv2DTranspose(2, 4, 2, kernel_initializer=layers.BilinearInitializer())
    again = keras.layers.Conv2DTranspose.from_config(layer.get_config())
    assert isinstance(again.kernel_initializer, layers.BilinearInitializer)


@pytest.mark.parametrize("shape", [(4, 3, 2, 2), (4, 4, 2, 3)])
def test_other_kernels_are_refused(shape):
    with pytest.raises(ValueError, match="square kernel"):
        layers.BilinearInitializer()(shape)
