"""SSD's augmentation: boxes follow the picture, draws follow the seed, and crops keep their constraint."""
import numpy as np
import pytest
import tensorflow as tf

from tests.layers import plain_boxes
from training import UserError
from training.app import App
from training.datasets import digit_scenes
from training.vision.detection import augmentation, ssd_augmentation

PLAIN = augmentation.PHOTOGRAPHS._replace(brightness=0.0, contrast=0.0, saturation=0.0, tint=0.0)
"""a recipe that leaves colors as they are"""
GREEN = (30, 230, 30)
SIZE = 96


def augmenter(recipe=PLAIN, size=SIZE):
    """Returns augment(image, boxes_yxyx, seed) as one graph for images of all sizes."""
    return tf.function(
        lambda image, boxes_yxyx, seed: ssd_augmentation.augment(image, boxes_yxyx, size, seed, recipe),
        input_signature=[tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([None, 4]), tf.TensorSpec([2], tf.int32)])


def scene(random, height=80, width=110):
    """Returns a dark picture with one green rectangle, and its box."""
    top, left = random.integers(0, height - 40), random.integers(0, width - 40)
    box = [top, left, top + random.integers(15, 40), left + random.integers(15, 40)]
    image = np.full((height, width, 3), 20, np.uint8)
    image[box[0]:box[2], box[1]:box[3]] = GREEN
    return image, np.array([box], np.float32)


@pytest.mark.parametrize("name", ["digit_scenes", "bccd", "photographs"])
def test_a_colored_rectangle_is_found_in_its_box(name):
    recipe = augmentation.RECIPES.get(name, augmentation.PHOTOGRAPHS)
    recipe = recipe._replace(brightness=0.0, contrast=0.0, saturation=0.0, tint=0.0)
    augment = augmenter(recipe)
    whole = cut = small = 0
    for seed in range(120):
        image, boxes = scene(np.random.default_rng(seed))
        made, moved, seen = augment(image, boxes, [seed, 1])
        is_green = (made.numpy().astype(int) - GREEN).__abs__().max(axis=-1) < 60
        (box,), seen = moved.numpy(), float(seen[0])
        assert 0 <= box.min() and box.max() <= SIZE and 0 <= seen <= 1 + 1e-5
        if seen < 0.05:
            continue
        rows, columns = np.flatnonzero(is_green.any(axis=1)), np.flatnonzero(is_green.any(axis=0))
        found = [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]
        np.testing.assert_allclose(found, box, atol=1.5)
        whole, cut, small = whole + (seen > 0.999), cut + (seen < 0.9), small + (box[2] - box[0] < 12)
    assert whole > 30 and (cut > 5 or name == "digit_scenes") and (small > 10 or name != "photographs")


def test_the_same_seed_gives_the_same_and_another_seed_something_else():
    image, boxes = scene(np.random.default_rng(0))
    augment = augmenter()
    first, second = augment(image, boxes, [3, 4]), augmenter()(image, boxes, [3, 4])
    tf.nest.map_structure(np.testing.assert_array_equal, first, second)
    others = [augment(image, boxes, [3, seed]) for seed in range(5, 15)]
    assert sum(not np.array_equal(other[0], first[0]) for other in others) >= 9


@pytest.mark.parametrize("choice", range(7))
def test_crops_keep_their_constraint(choice):
    """The overlap with some object is as large as was asked for, and the sides are within their limits."""
    crop_of = tf.function(lambda boxes, seed: ssd_augmentation._crop(boxes, (choice + 0.5) / 7, seed, 0.3))
    least = [None, 0, 0.1, 0.3, 0.5, 0.7, 0.9][choice]
    whole = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        corner, sides = random.uniform(0, 0.5, (3, 2)), random.uniform(0.2, 0.5, (3, 2))
        boxes = np.concatenate([corner, corner + sides], axis=1).astype("float32")
        crop = crop_of(boxes, tf.constant([seed, 2])).numpy()
        height, width = crop[2:] - crop[:2]
        is_whole = crop.tolist() == [0, 0, 1, 1]
        whole += is_whole
        if not is_whole:
            assert 0 <= crop.min() and crop.max() <= 1 + 1e-6 and min(height, width) >= 0.3 - 1e-6
            assert max(height, width) <= 2 * min(height, width) + 1e-6
            assert max(plain_boxes.iou(crop, box) for box in boxes) >= least
    assert whole == 40 if choice == 0 else whole < (12 if choice < 4 else 40)


def test_without_objects_a_constraint_leaves_the_image_whole():
    none = tf.zeros((0, 4))
    for choice in (0, 2, 6):
        assert ssd_augmentation._crop(none, (choice + 0.5) / 7, [1, 2], 0.3).numpy().tolist() == [0, 0, 1, 1]
    assert ssd_augmentation._crop(none, 1.5 / 7, [1, 2], 0.3).numpy().tolist() != [0, 0, 1, 1]
    made, moved, seen = augmenter()(np.zeros((1, 50, 3), np.uint8), none, [1, 2])  # one pixel high
    assert made.shape == (SIZE, SIZE, 3) and moved.shape == (0, 4) and seen.shape == (0,)


def test_zooming_out_happens_half_of_the_time_up_to_its_limit_and_fills_with_the_mean_color():
    augment = augmenter(PLAIN._replace(least_crop=1.0))  # a crop is the whole canvas
    image, shares = np.full((64, 64, 3), 255, np.uint8), []
    for seed in range(200):
        made = augment(image, tf.zeros((0, 4)), [seed, 0])[0].numpy()
        is_fill = (made == np.array([123, 117, 104])).all(axis=-1)
        assert (is_fill | (made == 255).all(axis=-1)).mean() > 0.9  # all but the edges
        shares.append((~is_fill).mean() ** 0.5)
    shares = np.array(shares)
    assert 70 < (shares < 0.99).sum() < 130 and 0.24 < shares.min() < 0.3


def test_digits_are_never_mirrored():
    """A picture that is bright on the left stays so."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, :32] = 255
    boxes = np.array([[16, 8, 48, 24]], np.float32)
    for name, expected in (("digit_scenes", False), ("photographs", True)):
        augment = augmenter(augmentation.RECIPES.get(name, augmentation.PHOTOGRAPHS)._replace(zoom_out=1.0, least_crop=1.0))
        mirrored = [augment(image, boxes, [seed, 0])[1][0, 1] > 40 for seed in range(30)]
        assert any(mirrored) == expected


def test_a_detector_is_fed_with_the_augmentation_of_its_settings(tmp_path, monkeypatch):
    monkeypatch.setattr(digit_scenes, "EXAMPLES", {"train": 8, "validation": 2, "test": 2})
    app, found = App("detection"), {}
    for name, changes in {"scale": dict(augmentation="scale"), "ssd": {}, "none": dict(augment=False)}.items():
        splits = app.data.datasets(app.config("ssd", data_dir=str(tmp_path), **changes))
        found[name] = next(iter(splits.train(0, 0, tf.distribute.InputContext())))[0]["image"].numpy()
    assert not np.array_equal(found["scale"], found["ssd"]) and not np.array_equal(found["none"], found["ssd"])
    with pytest.raises(UserError, match="--augmentation has no effect with --augment False"):
        app.config("ssd", augment=False, augmentation="scale")
