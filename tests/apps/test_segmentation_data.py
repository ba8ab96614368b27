"""Images and classes reach the networks together: fitted, augmented, void where there is nothing, and with one vocabulary."""
import types

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from apps.segmentation import augmentation, labeled_pixels
from tests.training.small_images import image_bytes
from training import UserError
from training.app import App
from training.data import sources
from training.vision.detection.augmentation import Recipe
from training.vision.pixel_losses import VOID

APP = App("segmentation")
CONTEXT = tf.distribute.InputContext()
PLAIN = Recipe(brightness=0, contrast=0, saturation=0, tint=0)


@pytest.fixture(scope="module")
def digits():
    config = APP.config("unet", batch_size=4)
    return config, APP.data.datasets(config)


def first(batches):
    return tf.nest.map_structure(lambda value: value.numpy(), next(iter(batches)))


def test_digit_scenes_have_the_classes_of_their_instances(digits):
    config, splits = digits
    assert splits.spec.info.class_names == ["background", *map(str, range(10))]
    assert splits.spec.info.pixel_shares[0] > 0.9 and sum(splits.spec.info.pixel_shares) == pytest.approx(1, abs=1e-6)
    inputs, targets = first(splits.test)
    examples = list(sources.builder("digit_scenes", config).as_dataset(split="test").take(4).as_numpy_iterator())
    for row, example in enumerate(examples):
        expected = np.zeros((128, 128), int)
        for number, label in enumerate(example["objects"]["label"]):
            expected[example["instances"][..., 0] == number + 1] = label + 1
        np.testing.assert_array_equal(targets["classes"][row], expected)
        np.testing.assert_array_equal(tf.io.decode_png(targets["mask"][row])[..., 0], expected)
        np.testing.assert_array_equal(inputs["image"][row], example["image"])
    assert targets["class_ids"].tolist() == [list(range(11))] * 4 and targets["height"].tolist() == [128] * 4


def test_training_batches_depend_on_seed_and_epoch_only(digits):
    _, splits = digits
    one, other, next_epoch = (first(splits.train(epoch, 0, CONTEXT)) for epoch in (0, 0, 1))
    np.testing.assert_array_equal(one[0]["image"], other[0]["image"])
    np.testing.assert_array_equal(one[1]["classes"], other[1]["classes"])
    assert (one[0]["image"] != next_epoch[0]["image"]).any()
    skipped = first(splits.train(0, 1, CONTEXT))
    second = tf.nest.map_structure(lambda value: value.numpy(), list(splits.train(0, 0, CONTEXT).take(2))[1])
    np.testing.assert_array_equal(skipped[1]["classes"], second[1]["classes"])


@pytest.mark.parametrize("recipe", [
    PLAIN._replace(scale=(0.5, 0.9)), PLAIN._replace(scale=(1.5, 3.0)), PLAIN._replace(flip_vertical=True, transpose=True)])
@pytest.mark.parametrize("crop_size", [48, 30])
def test_image_and_classes_move_together(recipe, crop_size):
    """Each class has its own gray value in the image, so that after all changes the image still tells the classes."""
    blocks = np.random.default_rng(0).integers(0, 4, (5, 7)).repeat(12, axis=0).repeat(12, axis=1)
    image = np.repeat((60 + 60 * blocks)[..., None], 3, axis=-1).astype(np.uint8)
    found, seen = set(), 0
    for seed in range(12):
        pixels, classes = augmentation.augment(tf.constant(image), tf.constant(blocks, tf.int32), 48, crop_size, [seed, 1], recipe)
        pixels, classes = pixels.numpy()[..., 0].astype(int), classes.numpy()
        assert pixels.shape == classes.shape == (crop_size, crop_size)
        is_void = classes == VOID
        assert not pixels[is_void].any() or (pixels[is_void] < 240).mean() > 0.9
        told = np.round((pixels - 60) / 60).astype(int)
        is_clear = ~is_void & (np.abs(pixels - 60 - 60 * told) <= 1)  # the others are at an edge, where colors are mixed
        assert (told[is_clear] == classes[is_clear]).mean() > 0.95
        assert is_clear.sum() > 0.5 * (~is_void).sum()
        found.add(tuple(np.bincount(classes.ravel() + 1, minlength=5)))
        seen += (~is_void).mean()
    assert len(found) > 8 and seen > 2


@pytest.mark.parametrize("height, width", [(20, 30), (30, 20), (1, 40), (33, 1), (16, 16), (100, 99)])
def test_a_mask_is_fitted_as_its_image(height, width):
    classes = np.random.default_rng(0).integers(0, 5, (height, width)).astype("int32")
    image = np.repeat(classes[..., None] * 50, 3, axis=-1).astype(np.uint8)
    pixels, fitted = labeled_pixels._fit(tf.constant(image), tf.constant(classes), 16)
    rows, columns = labeled_pixels.fitted_sides(height, width, 16).numpy()
    assert (fitted.numpy()[:rows, :columns] >= 0).all()
    assert (fitted.numpy()[rows:] == VOID).all() and (fitted.numpy()[:, columns:] == VOID).all()
    assert not pixels.numpy()[rows:].any() and not pixels.numpy()[:, columns:].any()
    if (height, width) == (16, 16):
        np.testing.assert_array_equal(fitted, classes)
    whole = np.full((height, width), 3, "int32")
    assert (labeled_pixels._fit(tf.constant(image), tf.constant(whole), 16)[1].numpy()[:rows, :columns] == 3).all()


def folder_of(folder, masks):
    """Writes a folder with images of 20 x 30 pixels and their masks, {split: arrays}."""
    for split, arrays in masks.items():
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for number, values in enumerate(arrays):
            (folder / split / "images" / f"{number}.png").write_bytes(image_bytes(*values.shape, "png", seed=number))
            Image.fromarray(values.astype(np.uint8)).save(folder / split / "masks" / f"{number}.png")
    (folder / "classes.txt").write_text("background\nroad\ncar\n")
    return folder


def datasets(tmp_path, folder, **changes):
    return APP.data.datasets(APP.config("unet", dataset="segmentation_folder", data_dir=str(tmp_path / "prepared"),
                                        manual_dir=str(folder), **dict(image_size=32, batch_size=2) | changes))


ROAD = np.ones((20, 30))
ROAD[:, :9] = 0
EMPTY, NONE = np.zeros((20, 30)), np.full((20, 30), 255)


def test_images_of_any_size_and_without_objects(tmp_path, capsys):
    thin = np.array([[0], [1], [1], [0], [255]])
    splits = datasets(tmp_path, folder_of(tmp_path / "folder", {
        "train": [ROAD, EMPTY, thin, NONE], "val": [ROAD, EMPTY], "test": [thin, EMPTY, NONE]}))
    assert "no pixel of car" in capsys.readouterr().out
    for inputs, targets in splits.train(0, 0, CONTEXT):
        assert inputs["image"].shape == (2, 32, 32, 3) and targets["classes"].shape == (2, 32, 32)
    targets = first(splits.test.unbatch().batch(3))[1]
    assert sorted(zip(targets["height"].tolist(), targets["width"].tolist())) == [(5, 1), (20, 30), (20, 30)]
    held = sorted(sorted(np.unique(classes).tolist()) for classes in targets["classes"])
    assert held == [[VOID], [VOID, 0], [VOID, 0, 1]]


@pytest.mark.parametrize("train, words", [
    ([EMPTY, EMPTY], "contains only pixels of the class 'background', so there is nothing to learn"),
    ([NONE, NONE], "contains no labeled pixels, so there is nothing to learn")])
def test_training_without_anything_to_learn_is_refused(train, words, tmp_path):
    with pytest.raises(UserError, match=words):
        datasets(tmp_path, folder_of(tmp_path / "folder", {"train": train, "val": [ROAD], "test": [ROAD]}))


def test_a_validation_without_labels_chooses_nothing(tmp_path, capsys):
    splits = datasets(tmp_path, folder_of(tmp_path / "folder", {"train": [ROAD, ROAD], "val": [NONE], "test": [NONE]}))
    assert splits.validation is None and splits.test is not None
    said = capsys.readouterr().out
    assert "validation: this split contains no labeled pixels, so the last weights are kept" in said
    assert "test: this split contains no labeled pixels, so its metrics are meaningless" in said


def prepared(name, **features):
    return types.SimpleNamespace(name=name, info=types.SimpleNamespace(features=features))


def test_the_pets_of_tfds_are_pets_background_and_void():
    masks = labeled_pixels._Masks(prepared("oxford_iiit_pet", image=None, segmentation_mask=None))
    values = np.array([[1, 2, 3], [3, 1, 2]], np.uint8)
    found = masks.classes({"segmentation_mask": tf.io.encode_png(values[..., None])})
    assert masks.class_names == ["background", "pet"] and found.numpy().tolist() == [[1, 0, 255], [255, 1, 0]]


def test_sets_without_masks_are_refused():
    with pytest.raises(UserError, match="voc has no masks with named classes in TFDS.* --dataset segmentation_folder"):
        labeled_pixels._Masks(prepared("voc", image=None, objects=None))
    many = tfds.features.LabeledImage(labels=256, shape=(None, None, 1))
    with pytest.raises(UserError, match="has 256 classes, more than the limit of 255"):
        labeled_pixels._Masks(prepared("large", image=None, mask=many))
