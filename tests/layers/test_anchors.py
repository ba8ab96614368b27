"""Anchors over a pyramid: where they stand, how large they are, and in which order."""
import keras
import numpy as np
import pytest

import layers
from tests.layers.layer_contract import check_layer

STRIDES, SIZES, RATIOS = (8, 16), ((10.0, 14.0), (20.0, 28.0)), (0.5, 1.0, 2.0)


def listed(layer, images):
    found = []
    for stride, sizes in zip(layer.strides, layer.sizes):
        for top in range(0, images.shape[1], stride):
            for left in range(0, images.shape[2], stride):
                for size in sizes:
                    for ratio in layer.ratios:
                        height, width = size * np.sqrt(ratio), size / np.sqrt(ratio)
                        y, x = top + stride / 2, left + stride / 2
                        found.append([y - height / 2, x - width / 2, y + height / 2, x + width / 2])
                for size in layer.square_sizes[layer.strides.index(stride)] if layer.square_sizes else ():
                    y, x = top + stride / 2, left + stride / 2
                    found.append([y - size / 2, x - size / 2, y + size / 2, x + size / 2])
    return np.tile(found, (len(images), 1, 1))


@pytest.mark.parametrize("square_sizes", [(), ((11.0,), (19.0, 27.0))], ids=str)
def test_contract(square_sizes, tmp_path):
    images = np.zeros((2, 50, 37, 3), "float32")  # no multiple of a stride
    check_layer(lambda **options: layers.Anchors(STRIDES, SIZES, RATIOS, square_sizes, **options), {"images": images}, listed,
                tmp_path, discrete=True, always_float32=True)


def test_levels_may_have_different_numbers_of_sizes():
    layer = layers.Anchors((8, 16), ((10.0,), (20.0, 25.0, 30.0)), (1.0, 3.0))
    images = np.zeros((1, 20, 33, 1), "float32")
    np.testing.assert_allclose(layer(images), listed(layer, images), rtol=1e-6)
    assert layer.of(20, 33).shape == (3 * 5 * 2 + 2 * 3 * 6, 4)


def test_areas_and_shapes():
    ymin, xmin, ymax, xmax = layers.Anchors(STRIDES, SIZES, RATIOS).of(64, 32).astype("float64").T
    height, width = ymax - ymin, xmax - xmin
    sizes = np.repeat([[10.0, 14.0]] * (8 * 4) + [[20.0, 28.0]] * (4 * 2), 3)  # every ratio has the same area
    np.testing.assert_allclose(height * width, sizes ** 2, rtol=1e-5)
    np.testing.assert_allclose(height / width, np.tile(RATIOS, len(sizes) // 3), rtol=1e-5)


def test_order_is_that_of_a_convolution():
    """A 1x1 convolution over a map of its cells' centers, with the sides in its bias, flattens to the anchors."""
    layer, stride, sizes = layers.Anchors((8,), SIZES[:1], RATIOS), 8, SIZES[0]
    anchors = layer.of(24, 40)
    rows, columns = np.meshgrid((np.arange(3) + 0.5) * stride, (np.arange(5) + 0.5) * stride, indexing="ij")
    convolution = keras.layers.Conv2D(len(sizes) * len(RATIOS) * 4, 1)
    convolution.build((None, 3, 5, 2))
    kernel = np.tile([[1, 0, 0, 0], [0, 1, 0, 0]], len(sizes) * len(RATIOS))[None, None]
    bias = [part for size in sizes for ratio in RATIOS for part in (0, 0, size * ratio ** 0.5, size / ratio ** 0.5)]
    convolution.set_weights([kernel, np.array(bias)])
    y, x, height, width = np.reshape(convolution(np.stack([rows, columns], -1)[None].astype("float32")), (-1, 4)).T
    np.testing.assert_allclose(
        anchors, np.stack([y - height / 2, x - width / 2, y + height / 2, x + width / 2], -1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", [
    dict(strides=(8, 16), sizes=((4,),)), dict(strides=(8,), sizes=((0,),)), dict(strides=(0,), sizes=((4,),)),
    dict(strides=(8,), sizes=((4,),), ratios=(1.0, -1.0)), dict(strides=(8,), sizes=((4,),), square_sizes=((4,), (8,))),
    dict(strides=(8,), sizes=((4,),), square_sizes=((0,),))], ids=str)
def test_arguments_are_checked(settings):
    with pytest.raises(ValueError, match="must"):
        layers.Anchors(**settings)
