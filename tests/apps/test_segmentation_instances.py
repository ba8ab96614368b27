"""Mask R-CNN and the interface of systems that find single objects."""
import io
import json
import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from apps.segmentation import instance_pictures, serving
from tests.apps import small_detector
from training import UserError, summary
from training.app import App
from training.cli import Predict
from training.data.spec import Info, Spec
from training.serving import answers, export
from training.vision.detection import masks
from training.vision.detection.mask_rcnn import MASK_SIDE

APP = App("segmentation")


def built(**changes):
    """Returns a compiled Mask R-CNN of two classes for images of 64 pixels."""
    tiny = dict(image_size=64, pyramid_filters=16, head_units=32, regions_per_image=8, proposals=8, mask_layers=1, mask_filters=8)
    return APP.build_model(APP.config("mask_rcnn", **tiny | changes), Spec({}, {}, Info(class_names=["a", "b"])), steps=100)


IMAGES = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype("float32")
BOX = [8, 16, 40, 32]


def targets(mask, frame=BOX):
    """Returns the targets of two images with one object each."""
    return {"boxes_yxyx": tf.constant([[BOX, [0] * 4]] * 2, tf.float32), "class_ids": tf.constant([[0, -1], [1, -1]]),
            "ignore": tf.zeros((2, 2), tf.bool), "masks": tf.constant(np.broadcast_to(mask, (2, 2, 56, 56)).astype("uint8")),
            "mask_frames_yxyx": tf.constant([[frame, [0] * 4]] * 2, tf.float32)}


HALF = np.zeros((56, 56))
HALF[:28] = 255


# the system

def test_only_the_true_class_of_object_regions_learns_its_mask():
    model = built()
    right = np.zeros((2, 2, 56, 56))
    right[0] = 255  # the object of the first image, which has the first class, covers all of its box, and the other one nothing
    model.mask_head.get_layer("mask_logits").kernel.assign(tf.zeros((1, 1, 8, 2)))
    for bias, wanted in (([20.0, -20.0], right), ([-20.0, 20.0], 255 - right)):
        model.mask_head.get_layer("mask_logits").bias.assign(bias)
        # a region that extends beyond the box has background there
        assert float(model.losses(IMAGES, targets(wanted), training=True)["mask"]) < 4
        assert float(model.losses(IMAGES, targets(255 - wanted), training=True)["mask"]) > 15


def test_the_true_box_gets_the_true_mask():
    """The regions of a model without proposals are the true boxes, whose target is the mask itself at 28x28."""
    model = built(proposals=1)
    asked = []

    def crop(pixels, frames_yxyx, boxes_yxyx):
        asked.append((frames_yxyx.numpy(), boxes_yxyx.numpy(), real(pixels, frames_yxyx, boxes_yxyx).numpy()))
        return asked[-1][2]

    real, model.mask_crop = model.mask_crop, crop
    model.losses(IMAGES, targets(HALF), training=True)
    frames, boxes, found = asked[0]
    is_truth = np.abs(boxes - BOX).max(axis=-1) < 1e-3
    assert is_truth.any() and (frames[is_truth] == BOX).all()
    for mask in found[is_truth]:
        assert mask.shape == (MASK_SIDE, MASK_SIDE) and (mask[:13] == 1).all() and not mask[15:].any()


def test_objects_without_a_mask_have_no_part_in_the_loss():
    model = built()
    losses = model.losses(IMAGES, targets(HALF, frame=[0] * 4), training=True)
    assert float(losses["mask"]) == 0 and all(np.isfinite(float(loss)) for loss in losses.values())


def test_the_other_losses_are_those_of_faster_rcnn():
    """Mask R-CNN is Faster R-CNN with one more head: from equal weights come equal losses and detections."""
    mask_rcnn = built()
    settings = dict(image_size=64, pyramid_filters=16, head_units=32, regions_per_image=8, proposals=8)
    faster = App("detection").build_model(
        App("detection").config("faster_rcnn", **settings), Spec({}, {}, Info(class_names=["a", "b"])), steps=100)
    for part in ("backbone", "proposal_head", "box_head"):
        getattr(faster, part).set_weights(getattr(mask_rcnn, part).get_weights())
    plain = {name: value for name, value in targets(HALF).items() if not name.startswith("mask")}
    wanted, found = faster.losses(IMAGES, plain, training=False), mask_rcnn.losses(IMAGES, targets(HALF), training=False)
    assert set(found) == {*wanted, "mask"}
    for name, value in wanted.items():
        np.testing.assert_array_equal(value, found[name])
    wanted, found = faster.detect(IMAGES), mask_rcnn.detect(IMAGES)
    for name, value in wanted.items():
        np.testing.assert_array_equal(value, found[name])


@pytest.mark.parametrize("precision", ["mixed_bfloat16"], indirect=True)
def test_masks_and_losses_are_float32_in_bfloat16(precision):
    model = built()
    losses = tf.function(model.losses)(IMAGES, targets(HALF), training=True)
    assert all(loss.dtype == tf.float32 and np.isfinite(loss) for loss in losses.values())
    found = tf.function(model.detect)(IMAGES)
    assert found["masks"].dtype == tf.float32 and found["masks"].shape == (2, 100, 28, 28)
    is_padding = found["class_ids"].numpy() < 0
    assert not found["masks"].numpy()[is_padding].any()


def test_the_summary_counts_each_tap_of_a_transposed_convolution_once():
    layer = keras.layers.Conv2DTranspose(5, 2, strides=2)
    inputs = tf.zeros((1, 3, 4, 6))
    assert summary._multiply_adds(layer, inputs, layer(inputs)) == 3 * 4 * 2 * 2 * 6 * 5


# what a client gets

class Masked(small_detector.RedSpot):
    """The detector of one red spot, with a mask that covers the lower half of its box; the second mask covers its whole box."""

    def detect(self, images):
        found = super().detect(images)
        half = tf.concat([tf.zeros((14, 28)), tf.ones((14, 28))], axis=0)
        both = tf.stack([half, tf.ones((28, 28))])
        return found | {"masks": tf.tile(tf.pad(both, [[0, 98], [0, 0], [0, 0]])[None], [tf.shape(images)[0], 1, 1, 1])}


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    model = Masked()
    model.build()
    config = APP.systems["mask_rcnn"].of(image_size=32)
    return export.export(tmp_path_factory.mktemp("saved_models") / "segmentation-instances", model,
                         serving.signatures(model, config, small_detector.INFO), warmup=serving.warmup(config))


def png(height, width, red_at=(10, 10)):
    image = np.full((height, width, 3), 60, np.uint8)
    image[red_at] = (255, 0, 0)
    side = max(height, width) // 8
    image[max(0, red_at[0] - side // 4):red_at[0] + side // 4 + 1, max(0, red_at[1] - side // 4):red_at[1] + side // 4 + 1] = (255, 0, 0)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


def opened(file):
    return np.asarray(Image.open(io.BytesIO(file)))


def test_signatures_are_those_of_detection_with_masks(version):
    described = export.describe(version)["serving_default"]["outputs"]
    assert described["masks"] == ("uint8", (None, 100, 28, 28)) and described["instance_map"] == ("string", (None,))
    assert set(described) == {"boxes_yxyx", "scores", "class_ids", "class_names", "count", "error", "masks", "instance_map"}


def test_the_instance_map_has_the_size_of_the_sent_image_and_the_better_detection_on_top(version):
    sizes = [(64, 96), (200, 90), (33, 33), (1, 40), (40, 1)]
    answer = export.answer(version, {"image_bytes": [png(*size, (size[0] // 2, size[1] // 2)) for size in sizes] + [b"no image"]})
    for row, size in enumerate(sizes):
        found = opened(answer["instance_map"][row])
        assert found.shape == size and set(np.unique(found)) <= {0, 1, 2}
        # painted by hand from the answer: first the second detection, which covers the image, then the better one
        wanted = np.zeros(size, int)
        for k in (1, 0):
            wanted[masks.pasted(answer["masks"][row, k] / 255, answer["boxes_yxyx"][row, k], *size)] = k + 1
        assert (found != wanted).mean() < 0.01
    assert (opened(answer["instance_map"][0]) == 2).mean() > 0.8
    assert answer["instance_map"][-1] == b"" and not answer["masks"][-1].any() and answer["error"][-1]


def test_masks_belong_to_the_answered_boxes_not_to_those_of_the_square(version):
    """The spot lies at the lower edge of a flat image, and its box extends into the black rest of the square."""
    answer = export.answer(version, {"image_bytes": [png(48, 96, (46, 48))]})
    top, _, bottom, _ = answer["boxes_yxyx"][0, 0]
    assert bottom == 48  # cut from about 58
    mask = answer["masks"][0, 0][:, 14] >= 128
    seen = opened(answer["instance_map"][0])[:, 48] == 1
    # the lower half of the whole box begins at its middle, which lies in the image
    assert seen.any() and not seen[int(top) + 2] and seen[47]
    assert abs(mask.mean() - seen.sum() / (bottom - top)) < 0.1


def test_an_empty_batch(version):
    answer = export.answer(version, {"image_bytes": np.array([], object)})
    assert answer["masks"].shape == (0, 100, 28, 28) and answer["instance_map"].shape == (0,)


def test_predict_writes_an_overlay_a_palette_and_run_lengths(version, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").write_bytes(png(64, 96, (30, 40)))
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    monkeypatch.setattr("apps.segmentation.instance_signatures.SHOWN_SCORE", 0.1)
    with pytest.raises(UserError, match="1 of 2 predictions failed; the first error: bad.jpg is not an image"):
        answers.predict(APP, Predict(inputs=("photo.png", "bad.jpg"), export=str(version), output="out"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "bad.json", "photo.instances.png", "photo.json", "photo.png"]
    found = json.loads((tmp_path / "out" / "photo.json").read_text())["detections"]
    runs = found[0]["mask"]
    mask = masks.decoded({"size": runs["size"], "counts": runs["counts"].encode()})
    palette = Image.open(tmp_path / "out" / "photo.instances.png")
    assert palette.mode == "P" and palette.size == (96, 64) and mask.shape == (64, 96) and mask.any()
    assert ((np.asarray(palette) == 1) != mask).mean() < 0.01
    assert "no answer: bad.jpg is not an image" in capsys.readouterr().out


def test_an_instance_map_shows_the_first_mask_on_top():
    first, second = np.zeros((2, 4, 6), bool)
    first[1:3, 1:4], second[2:4, 2:6] = True, True
    found = instance_pictures.instance_map([first, None, second])
    assert np.array_equal(found, np.where(first, 1, np.where(second, 3, 0)))
    assert instance_pictures.instance_map([None]) is None


# two kinds of exports in one application

def test_exports_of_both_kinds_have_folders_of_their_own():
    assert APP.export_names() == {"segmentation": "unet", "segmentation-instances": "mask_rcnn"}
    assert APP.export_names("mask_rcnn") == {"segmentation-instances": "mask_rcnn"}
    assert App("detection").export_names() == {"detection": "faster_rcnn"}
    with pytest.raises(UserError, match="there is no system mask_cnn in segmentation; choose one of unet"):
        APP.export_names("mask_cnn")
    with pytest.raises(UserError, match="--model has no effect: all systems of detection have the same signatures"):
        App("detection").export_names("retinanet")


def versions(folder, *times):
    for number, (name, time) in enumerate(times, start=1):
        path = folder / name / str(number)
        path.mkdir(parents=True)
        os.utime(path, (time, time))


def test_predict_takes_the_newest_export_of_any_kind_or_of_the_chosen_one(tmp_path):
    versions(tmp_path, ("segmentation", 100), ("segmentation-instances", 300), ("segmentation", 200))
    for model, wanted in ((None, "segmentation-instances/2"), ("unet", "segmentation/3"), ("mask_rcnn", "segmentation-instances/2")):
        ask = answers._asker(APP, Predict(inputs=("a",), saved_models=str(tmp_path), model=model))
        assert ask.args[0] == tmp_path / wanted
    ask = answers._asker(APP, Predict(inputs=("a",), server="localhost:1", model="mask_rcnn"))
    assert ask.args == ("localhost:1", "segmentation-instances")
    assert answers._asker(APP, Predict(inputs=("a",), server="localhost:1")).args[1] == "segmentation"


@pytest.mark.parametrize("model, words", [
    ("mask_rcnn", "no export in .*segmentation-instances: train one with `python -m apps.segmentation --model mask_rcnn`"),
    (None, "no export in .*segmentation: train one with `python -m apps.segmentation`"),
])
def test_a_missing_export_names_the_command_that_makes_one(tmp_path, model, words):
    with pytest.raises(UserError, match=words):
        answers._asker(APP, Predict(inputs=("a",), saved_models=str(tmp_path), model=model))
