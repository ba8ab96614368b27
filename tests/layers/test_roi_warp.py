"""Regions cut out with context, against a plain loop."""
import numpy as np
import pytest

import layers
from tests.layers import plain_boxes
from tests.layers.layer_contract import check_layer


def warped(layer, boxes_yxyx, images):
    size, inner = layer.size, layer.size - 2 * layer.context
    found = np.zeros((*boxes_yxyx.shape[:2], size, size, images.shape[-1]))
    for row, region in np.ndindex(boxes_yxyx.shape[:2]):
        ymin, xmin, ymax, xmax = boxes_yxyx[row, region].astype("float64")
        for i, j in np.ndindex(size, size):
            y = ymin + (i - layer.context + 0.5) * (ymax - ymin) / inner - 0.5
            x = xmin + (j - layer.context + 0.5) * (xmax - xmin) / inner - 0.5
            found[row, region, i, j] = interpolated(images[row], y, x)
    return found


def interpolated(image, y, x):
    height, width = image.shape[:2]
    if not (0 <= y <= height - 1 and 0 <= x <= width - 1):
        return 0
    top, left = int(min(y, height - 2)), int(min(x, width - 2))
    y, x = y - top, x - left
    upper = image[top, left] * (1 - x) + image[top, left + 1] * x
    lower = image[top + 1, left] * (1 - x) + image[top + 1, left + 1] * x
    return upper * (1 - y) + lower * y


@pytest.mark.parametrize("xla", [False, True])
def test_contract(xla, tmp_path):
    images = np.random.default_rng(0).normal(size=(2, 11, 9, 3)).astype("float32")
    boxes_yxyx = plain_boxes.random_boxes(2, 7, image=11, smallest=1, largest=9)  # some stick out
    inputs = {"boxes_yxyx": boxes_yxyx, "images": images}
    if xla:
        check_layer(lambda **options: layers.RoIWarp(6, 1, xla=True, **options), inputs, warped, tmp_path, constant=["boxes_yxyx"])
    else:  # the kernel does not compile under XLA, which is what the other variant is for
        layer = layers.RoIWarp(6, 1)
        np.testing.assert_allclose(layer(**inputs), warped(layer, boxes_yxyx, images), atol=1e-5)


def test_a_region_fills_the_middle_and_its_context_the_margin():
    image = np.zeros((1, 16, 16, 1), "float32")
    image[:, 4:12, 6:10] = 1
    found = layers.RoIWarp(12, 2)(np.array([[[4, 6, 12, 10]]], "float32"), image).numpy()[0, 0, :, :, 0]
    np.testing.assert_array_equal(found[3:9, 3:9], 1)
    assert found[:1].max() == found[:, :1].max() == 0


def test_a_region_beyond_the_image_reads_zeros():
    found = layers.RoIWarp(4)(np.array([[[-8, -8, 8, 8]]], "float32"), np.ones((1, 8, 8, 1), "float32")).numpy()[0, 0, :, :, 0]
    np.testing.assert_array_equal(found, np.outer([0, 0, 1, 1], [0, 0, 1, 1]))


@pytest.mark.parametrize("size, context", [(0, 0), (4, 2), (4, -1)])
def test_arguments_are_checked(size, context):
    with pytest.raises(ValueError, match="below half"):
        layers.RoIWarp(size, context)
