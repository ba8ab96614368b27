"""What classifiers are fed: pixels as stored, channels, splits, and augmentation."""
import json

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import training
from apps.classification import data as classification_data
from training import cli
from training.app import App
from training.vision import labelled_images

ALONE = tf.distribute.InputContext()


def resolved(tmp_path, model=None, **changes):
    return App("classification").config(model, data_dir=str(tmp_path), **changes)


def images_of(splits, epoch=0):
    return np.concatenate([inputs["image"] for inputs, _ in splits.train(epoch, 0, ALONE)])


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


def test_digits_are_fed_as_they_are_stored(data_dir):
    config = resolved(data_dir, model="softmax", image_size=8, batch_size=50)
    splits = classification_data.datasets(config)
    prepared = tfds.builder("digits", data_dir=data_dir)
    stored = {example["image"].tobytes(): example["label"] for example in tfds.as_numpy(prepared.as_dataset(split="train"))}
    images = images_of(splits)
    labels = np.concatenate([targets["label"] for _, targets in splits.train(0, 0, ALONE)])
    assert images.shape == (1050, 8, 8, 1) and images.dtype == np.uint8
    assert all(stored[image.tobytes()] == label for image, label in zip(images, labels))
    assert not np.array_equal(images, images_of(splits, epoch=1))
    counts = [sum(len(targets["label"]) for _, targets in part) for part in (splits.validation, splits.test)]
    assert counts == [269, 450]
    assert splits.spec.info.class_names == [str(digit) for digit in range(10)]
    whole = np.stack([np.frombuffer(key, np.uint8) for key in stored])
    assert splits.spec.info.mean == [pytest.approx(whole.mean(), rel=0.01)]
    assert splits.spec.info.std == [pytest.approx(whole.std(), rel=0.01)]


def test_all_images_but_those_of_the_test_are_trained_on(data_dir, tmp_path, monkeypatch, capsys):
    held_out = classification_data.datasets(resolved(data_dir, model="softmax", image_size=8, batch_size=1))
    splits = classification_data.datasets(resolved(data_dir, model="softmax", image_size=8, batch_size=1, train_on_all=True))
    expected = np.concatenate([images_of(held_out), *(inputs["image"] for inputs, _ in held_out.validation)])
    assert sorted(image.tobytes() for image in images_of(splits)) == sorted(image.tobytes() for image in expected)
    assert splits.validation is None and sum(len(targets["label"]) for _, targets in splits.test) == 450
    monkeypatch.chdir(tmp_path)
    flags = ["--model", "softmax", "--data-dir", str(data_dir), "--train-on-all"]
    cli.main("apps.classification", [*flags, "--epochs", "2", "--name", "all"])
    results = json.loads((tmp_path / "runs" / "classification" / "all" / "results.json").read_text())
    assert results["best_epoch"] is None and results["metrics"]["accuracy"] > 0.8 and "val_" not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main("apps.classification", ["search", *flags])
    assert "--train-on-all" in capsys.readouterr().err and not (tmp_path / "runs" / "classification" / "search-softmax-digits").exists()


def test_a_set_that_does_not_fit_in_memory_is_decoded_again_in_each_epoch(data_dir, monkeypatch):
    config = resolved(data_dir, image_size=8, batch_size=49, augment=False)
    kept = images_of(classification_data.datasets(config))
    monkeypatch.setattr(labelled_images, "_LARGEST_IN_MEMORY", 0)
    splits = classification_data.datasets(config)
    streamed = images_of(splits)
    assert sorted(image.tobytes() for image in streamed) == sorted(image.tobytes() for image in kept)  # 22 * 49 = 1,078
    assert sum(len(targets["label"]) for _, targets in splits.test) == 450


def test_images_without_a_label_are_refused(tmp_path):
    with pytest.raises(training.UserError, match="tabular/iris is not a classification data set"):
        classification_data.datasets(resolved(tmp_path, dataset="tabular/iris"))


def augmented(pixels, seed=(1, 2), mirror=False, erase=0.0):
    return labelled_images.augment(tf.constant(pixels), tf.constant(seed, tf.int64), mirror, erase).numpy()


def test_augmentation_shifts_and_mirrors():
    random = np.random.default_rng(0)
    pixels = random.integers(1, 256, (40, 16, 16, 3), np.uint8)
    moved = augmented(pixels, mirror=True)
    found = set()
    for before, after in zip(pixels, moved):
        padded = np.pad(before, ((2, 2), (2, 2), (0, 0)))
        for is_mirrored in (False, True):
            for top in range(5):
                for left in range(5):
                    window = padded[top:top + 16, left:left + 16]
                    if np.array_equal(window[:, ::-1] if is_mirrored else window, after):
                        found.add((is_mirrored, top, left))
                        break
        # every image is one of these windows
    assert {is_mirrored for is_mirrored, _, _ in found} == {False, True}
    assert {top for _, top, _ in found} == {left for _, _, left in found} == set(range(5))
    assert np.array_equal(moved, augmented(pixels, mirror=True))
    assert not np.array_equal(moved, augmented(pixels, seed=(1, 3), mirror=True))


def test_nothing_is_mirrored_that_must_not_be():
    pixels = np.tile(np.arange(1, 17, dtype=np.uint8)[None, None, :, None], (60, 16, 1, 1))  # brighter to the right
    inner = augmented(pixels)[:, 8, 3:13, 0].astype(int)
    assert (np.diff(inner, axis=1) == 1).all()


def test_a_square_is_erased():
    pixels = np.full((50, 16, 16, 1), 9, np.uint8)
    blank = (augmented(pixels, erase=0.5) == 0) & (augmented(pixels) != 0)
    assert blank.any(axis=(1, 2, 3)).all()
    rows, columns = blank.any(axis=(2, 3)).sum(axis=1), blank.any(axis=(1, 3)).sum(axis=1)
    assert rows.max() == columns.max() == 8
    assert (blank.sum(axis=(1, 2, 3)) <= rows * columns).all()
