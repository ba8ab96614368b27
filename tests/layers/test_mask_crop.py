"""Masks cut to regions, against point-by-point interpolation."""
import numpy as np
import pytest

import layers
from tests.layers import plain_boxes
from tests.layers.layer_contract import check_layer


def value(mask, y, x):
    """Returns the linear interpolation of (height, width) at one point; beyond the outermost middles it falls to 0 within a
    cell."""
    total = 0.0
    for row, column in np.ndindex(mask.shape):
        total += mask[row, column] * max(0, 1 - abs(y - row)) * max(0, 1 - abs(x - column))
    return total


def cropped(layer, masks, frames_yxyx, boxes_yxyx):
    found = np.zeros((*boxes_yxyx.shape[:2], layer.size, layer.size))
    for row, region, i, j in np.ndindex(found.shape):
        mask, frame, box = (each[row, region].astype("float64") for each in (masks, frames_yxyx, boxes_yxyx))
        if (frame[2:] <= frame[:2]).any():
            continue
        place = box[:2] + (np.array([i, j]) + 0.5) / layer.size * (box[2:] - box[:2])  # in pixels of the image
        y, x = (place - frame[:2]) / (frame[2:] - frame[:2]) * mask.shape - 0.5
        found[row, region, i, j] = value(mask, y, x)
    return found


def test_contract(tmp_path):
    random = np.random.default_rng(0)
    masks = random.random((2, 5, 9, 7)).astype("float32")
    frames = plain_boxes.random_boxes(2, 5, image=36, smallest=6, largest=30)
    frames[1, 2] = 0  # no mask
    boxes = frames + random.uniform(-4, 4, frames.shape).astype("float32")
    found = check_layer(lambda **options: layers.MaskCrop(3, **options),
                        {"masks": masks, "frames_yxyx": frames, "boxes_yxyx": boxes}, cropped, tmp_path, discrete=True)
    assert not found[1, 2].any() and found[0].any()


def test_the_region_that_is_the_frame_gives_the_mask_back_and_a_shifted_one_a_part_of_it():
    mask = np.random.default_rng(1).random((1, 1, 8, 8)).astype("float32")
    frame = np.array([[[10, 20, 26, 52]]], "float32")
    np.testing.assert_allclose(layers.MaskCrop(8)(mask, frame, frame), mask, atol=1e-6)
    shifted = frame + np.array([0, 16, 0, 16], "float32")  # by half of its width
    part = layers.MaskCrop(8)(mask, frame, shifted).numpy()
    np.testing.assert_allclose(part[..., :4], mask[..., 4:], atol=1e-6)
    assert not part[..., 4:].any()


def test_a_size_below_one_is_refused():
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        layers.MaskCrop(0)
