"""What a client of a segmenter gets, and what `predict` writes."""
import io
import json
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from apps.segmentation import map_pictures, map_signatures, palette, pixel_metrics, segmenter
from training.data.spec import Info
from training.serving.requests import Asked

NAMES = ["background", "red", "blue"]
SIZE = 32


class Colors(keras.Model):
    """Answers with the color of a pixel: red, blue or neither."""

    def call(self, inputs, training=False):
        red, _, blue = tf.unstack(tf.cast(inputs["image"], tf.float32), axis=-1)
        return {"classes": tf.stack([tf.fill(tf.shape(red), 100.0), red, blue], -1) / 20}

    def embed(self, images):
        return tf.reduce_mean(tf.cast(images, tf.float32), (1, 2))


def picture(height, width):
    """Returns an image whose left half is red and whose right half is blue below the middle and black above it."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, :width // 2, 0] = 255
    image[height // 2:, width // 2:, 2] = 255
    expected = np.where(image[..., 0] > 0, 1, np.where(image[..., 2] > 0, 2, 0))
    return tf.io.encode_png(image).numpy(), expected


@pytest.fixture(scope="module")
def answer():
    function, signature = map_signatures.signatures(Colors(), types.SimpleNamespace(image_size=SIZE), Info(class_names=NAMES))["serving_default"]
    return tf.function(function, input_signature=list(signature.values()))


def opened(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def test_maps_have_the_size_of_the_sent_image(answer):
    sizes = [(32, 32), (64, 48), (10, 30), (101, 40), (1, 20), (40, 2)]
    contents, expected = zip(*(picture(*size) for size in sizes))
    found = {name: value.numpy() for name, value in answer(tf.constant(contents)).items()}
    for row, (size, classes) in enumerate(zip(sizes, expected)):
        class_map, score_map = opened(found["class_map"][row]), opened(found["score_map"][row])
        assert class_map.shape == score_map.shape == size and class_map.dtype == np.uint8
        assert (class_map == classes).mean() > 0.85, size
        assert found["pixel_counts"][row].tolist() == np.bincount(class_map.ravel(), minlength=3).tolist()
        assert found["class_names"][row].tolist() == [name.encode() for name in NAMES]
        assert score_map.max() > 200
    assert not any(found["error"])


def test_a_damaged_file_does_not_affect_its_neighbors(answer):
    good, _ = picture(20, 30)
    mixed = answer(tf.constant([good, b"no image", good]))
    alone = answer(tf.constant([good]))
    for name, value in alone.items():
        for row in (0, 2):
            np.testing.assert_array_equal(mixed[name].numpy()[row], value.numpy()[0])
    assert mixed["class_map"].numpy()[1] == mixed["score_map"].numpy()[1] == b"" and not mixed["pixel_counts"].numpy()[1].any()
    assert b"not a JPEG" in mixed["error"].numpy()[1] and mixed["class_names"].numpy()[1].tolist() == [b""] * 3


def test_an_empty_batch_has_an_empty_answer(answer):
    assert all(value.shape[0] == 0 for value in answer(tf.constant([], tf.string)).values())


def test_predict_writes_overlay_palette_and_shares(answer, tmp_path):
    content, classes = picture(32, 32)
    found = {name: value.numpy() for name, value in answer(tf.constant([content])).items()}
    document, lines = map_signatures.present(Asked({}, content), found, tmp_path / "name")
    assert [each["class_name"] for each in document["classes"]] == ["red", "background", "blue"]  # by their shares
    assert [each["share"] for each in document["classes"]] == [0.5, 0.25, 0.25] and document["error"] == ""
    assert all(0 < each["score"] <= 1 for each in json.loads(json.dumps(document))["classes"])
    assert lines == ["red 50.0%, background 25.0%, blue 25.0%"]
    indexed = Image.open(tmp_path / "name.classes.png")
    assert indexed.mode == "P" and np.array_equal(np.asarray(indexed), classes)
    assert np.array_equal(np.asarray(indexed.convert("RGB")), palette.colors(NAMES)[classes])
    assert Image.open(tmp_path / "name.png").size == (32, 32)


def test_no_answer_is_said(answer, tmp_path):
    found = {name: value.numpy() for name, value in answer(tf.constant([b"no"])).items()}
    document, lines = map_signatures.present(Asked({}, b"no"), found, tmp_path / "name")
    assert document["classes"] == [] and document["error"] and lines[0].startswith("no answer: ")
    assert not list(tmp_path.iterdir())


def test_colors_are_different_and_the_background_has_none():
    colors = palette.colors([f"class{number}" for number in range(255)])
    assert len({tuple(color) for color in colors.tolist()}) == 255 and palette.BLACK not in map(tuple, colors.tolist())
    image = np.full((4, 6, 3), 200, np.uint8)
    classes = np.zeros((4, 6), int)
    assert np.array_equal(palette.overlay(image, classes, palette.colors(NAMES)), image)
    assert (palette.overlay(image, classes, palette.colors(["sky", "road"])) != image).any()
    assert (palette.overlay(image, classes - 1, palette.colors(NAMES)) < 100).all()  # void is dark
    classes[:, 3:] = 1
    drawn = palette.overlay(image, classes, palette.colors(NAMES))
    assert len({tuple(pixel) for pixel in drawn.reshape(-1, 3).tolist()}) == 3  # image, class, and the edge between


def batch():
    contents, expected = picture(24, 32)
    image = np.zeros((2, SIZE, SIZE, 3), np.uint8)
    image[:, :24] = tf.io.decode_png(contents).numpy()
    return {"image": tf.constant(image)}, {
        "mask": tf.constant([tf.io.encode_png(expected[..., None].astype(np.uint8)).numpy()] * 2),
        "class_ids": tf.constant([[0, 1, 2]] * 2), "height": tf.constant([24, 24]), "width": tf.constant([32, 32])}


def test_pictures_show_truth_and_answer():
    config, model = types.SimpleNamespace(batch_size=2, limit_steps=None, seed=0), Colors()
    assert segmenter.probabilities(model, batch()[0]["image"]).shape == (2, SIZE, SIZE, 3)
    counts = pixel_metrics.confusions(model, [batch()], config, Info(class_names=NAMES))
    metrics = pixel_metrics.summary(counts, NAMES)
    assert metrics["mean_iou"] == 1
    splits = types.SimpleNamespace(test=[batch()])
    rendered = map_pictures.render(model, splits, config, Info(class_names=NAMES), metrics)
    assert set(rendered.pictures) == {"overlays", "scores", "confusion", "per_class"}
    for name, pictures in rendered.pictures.items():
        assert pictures.dtype == np.uint8 and pictures.ndim == 4 and pictures.std() > 5, name
    truth, found = np.split(rendered.pictures["overlays"][0], 2)
    assert np.array_equal(truth[24:], found[24:])  # below their titles
    assert rendered.activations["features"].shape == (2, 3)
