"""Instance masks on the way from a data set to training and to the metrics."""
import contextlib
import io
import json
import re

import numpy as np
import pytest
import tensorflow as tf

import layers
import training
from apps.segmentation import instance_evaluation
from tests.training.small_images import image_bytes
from training.app import App
from training.data import sources
from training.datasets import digit_scenes, instance_masks
from training.vision.detection import augmentation, boxed_images, masks, metrics

ALONE = tf.distribute.InputContext()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Returns a data_dir with a small digit_scenes."""
    folder = str(tmp_path_factory.mktemp("prepared"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digit_scenes, "EXAMPLES", {"train": 20, "validation": 5, "test": 7})
        sources.builder("digit_scenes", training.Config(data_dir=folder))
    return folder


def settings(folder, **changes):
    return App("segmentation").config("mask_rcnn", data_dir=str(folder), batch_size=4, **changes)


def rows(batches):
    return list(batches.unbatch().as_numpy_iterator())


def overlap(first, second):
    return (first & second).sum() / max((first | second).sum(), 1)


# data

def test_elements_are_those_without_masks_and_the_masks(folder):
    splits, plain = (boxed_images.splits(settings(folder), with_masks=each) for each in (True, False))
    assert splits.spec.targets == plain.spec.targets | {
        "masks": tf.TensorSpec([None, 8, 56, 56], tf.uint8), "mask_frames_yxyx": tf.TensorSpec([None, 8, 4], tf.float32)}
    assert splits.test.element_spec[1]["masks"].dtype == tf.string
    for with_masks, without in ((splits.train(1, 0, ALONE), plain.train(1, 0, ALONE)), (splits.test, plain.test)):
        for (image, targets), (plain_image, plain_targets) in zip(rows(with_masks), rows(without), strict=True):
            np.testing.assert_array_equal(image["image"], plain_image["image"])
            for name, value in plain_targets.items():
                np.testing.assert_array_equal(targets[name], value)


def test_the_exact_masks_come_back_for_evaluation(folder):
    prepared = sources.builder("digit_scenes", training.Config(data_dir=folder))
    instances = {int(example["image/id"]): example["instances"][..., 0]
                 for example in sources.read(prepared, "test").as_numpy_iterator()}
    compared = 0
    for _, targets in rows(boxed_images.splits(settings(folder), with_masks=True).test):
        for index, (file, corner) in enumerate(zip(targets["masks"], targets["mask_corners"])):
            assert bool(file) == (targets["class_ids"][index] >= 0)
            if file:
                wanted = instances[int(targets["image_id"])] == index + 1
                assert np.array_equal(masks.opened(file, corner, 128, 128), wanted)
                compared += 1
    assert compared > 10


@pytest.mark.parametrize("augment", [True, False])
def test_small_masks_lie_where_the_objects_are(folder, augment):
    """A digit has one bright color in a dark part of a scene, or the other way round: its pixels differ from those around it."""
    differences = []
    for inputs, targets in rows(boxed_images.splits(settings(folder, augment=augment), with_masks=True).train(0, 0, ALONE)):
        for place in np.flatnonzero(targets["class_ids"] >= 0):
            mask = masks.pasted(targets["masks"][place] / 255, targets["mask_frames_yxyx"][place], 128, 128)
            top, left, bottom, right = targets["boxes_yxyx"][place].round().astype(int)
            inside = np.zeros_like(mask)
            inside[top:bottom, left:right] = True
            assert mask.any() and (mask & inside).sum() >= 0.97 * mask.sum()
            pixels = inputs["image"].astype(float)
            if (inside & ~mask).any():
                differences.append(np.abs(pixels[mask].mean(axis=0) - pixels[inside & ~mask].mean(axis=0)).max())
    assert len(differences) > 20 and np.median(differences) > 60


@pytest.mark.parametrize("name", ["digit_scenes", "bccd", "photographs"])
def test_masks_follow_the_picture(name):
    plain = dict(brightness=0.0, contrast=0.0, saturation=0.0, tint=0.0)
    recipe, size = augmentation.RECIPES.get(name, augmentation.PHOTOGRAPHS)._replace(**plain), 96

    @tf.function(reduce_retracing=True)
    def both(image, box, pixels, frame, seed):
        moved = augmentation.augment_masks(pixels, frame, tf.shape(image)[:2], size, seed, recipe)
        return augmentation.augment(image, box, size, seed, recipe), moved

    compared = 0
    for seed in range(30):
        random = np.random.default_rng(seed)
        height, width = random.integers(60, 120, 2)
        top, left = random.integers(0, height - 40), random.integers(0, width - 40)
        shape = np.zeros((height, width), bool)  # an L: no flip and no transposition gives it back
        shape[top:top + 40, left:left + 12], shape[top + 30:top + 40, left:left + 28] = True, True
        stored = instance_masks.features(shape)
        pixels, frame = masks.small(tf.constant([stored["mask"]]), tf.constant([stored["mask_corner"]]))
        image = np.where(shape[..., None], 220, 40).astype(np.uint8).repeat(3, axis=-1)
        (augmented, _, seen), (pixels, frame) = both(
            tf.constant(image), tf.zeros((0, 4)), pixels, frame, tf.constant([seed, 3], tf.int32))
        bright = augmented.numpy()[..., 0] > 130
        if bright.sum() > 150:
            assert overlap(masks.pasted(pixels[0].numpy() / 255, frame[0].numpy(), size, size), bright) > 0.8, seed
            compared += 1
    assert compared >= 20


def test_objects_without_masks_have_an_empty_frame():
    pixels, frames = masks.small(tf.constant([b"", instance_masks.features(np.ones((3, 5), bool))["mask"]]),
                                 tf.constant([[7, 7], [2, 4]]))
    assert frames.numpy().tolist() == [[0, 0, 0, 0], [2, 4, 5, 9]]
    assert (pixels[1].numpy() == 255).all() and not pixels[0].numpy().any()


def coco_folder(tmp_path, segmentation):
    """Returns the settings for a folder of 12 images with two objects each, of which one has a segmentation, and of 2 images
    without objects."""
    folder = tmp_path / "own"
    (folder / "images").mkdir(parents=True)
    names = [f"{number}.jpg" for number in range(14)]
    for number, name in enumerate(names):
        (folder / "images" / name).write_bytes(image_bytes(20, 30, "jpeg", seed=number))
    things = [{"id": 2 * number + k, "image_id": number, "category_id": 1, "bbox": [5, 3, 12, 8], "iscrowd": 0}
              | ({"segmentation": segmentation} if k == 0 else {}) for number in range(12) for k in range(2)]
    (folder / "annotations.json").write_text(json.dumps({
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
        "categories": [{"id": 1, "name": "cat"}], "annotations": things}))
    return settings(tmp_path / "prepared", dataset="coco_folder", manual_dir=str(folder), image_size=32)


def test_objects_without_masks_are_counted_and_images_without_objects_are_used(tmp_path, capsys):
    splits = boxed_images.splits(coco_folder(tmp_path, [[5, 3, 17, 3, 17, 11, 5, 11]]), with_masks=True)
    said = re.findall(r"coco_folder, (\w+): (\d+) of (\d+) objects have no mask; (.*)", capsys.readouterr().out)
    assert all(2 * int(count) == int(total) for _, count, total, _ in said)
    assert ("train", "they teach boxes and classes only") in [(part, words) for part, _, _, words in said]
    assert ("test", "the mask metrics ignore them") in [(part, words) for part, _, _, words in said]
    seen = []
    for batches, name in ((splits.train(0, 0, ALONE), "mask_frames_yxyx"), (splits.validation, "masks"), (splits.test, "masks")):
        for _, targets in rows(batches):
            has_mask = [bool(value.any() if name != "masks" else value) for value in targets[name]]
            seen.append((int((targets["class_ids"] >= 0).sum()), sum(has_mask)))
    assert set(seen) == {(2, 1), (0, 0)}


@pytest.mark.parametrize("segmentation, dataset, words", [
    ([], "coco_folder", "no object in the training split of coco_folder has an instance mask"),
    (None, "voc_folder", "voc_folder has no instance masks: choose a data set with masks"),
])
def test_a_set_without_masks_is_refused_in_one_sentence(tmp_path, segmentation, dataset, words):
    config = coco_folder(tmp_path, segmentation)
    if dataset == "voc_folder":
        folder = tmp_path / "voc"
        for name in ("JPEGImages", "Annotations"):
            (folder / name).mkdir(parents=True)
        for number in range(10):
            (folder / "JPEGImages" / f"{number}.jpg").write_bytes(image_bytes(20, 30, "jpeg"))
            (folder / "Annotations" / f"{number}.xml").write_text(
                "<annotation><object><name>cat</name><bndbox><ymin>1</ymin><xmin>1</xmin><ymax>9</ymax><xmax>9</xmax></bndbox>"
                "</object></annotation>")
        config = settings(tmp_path / "prepared", dataset="voc_folder", manual_dir=str(folder), image_size=32)
    with pytest.raises(training.UserError, match=words):
        boxed_images.splits(config, with_masks=True)


# pixels of the original image

def test_a_pasted_mask_covers_its_box():
    for box in ([3, 4, 13, 24], [-5, -5, 10, 10], [10.4, 3.2, 25, 50], [15, 5, 15.4, 6], [30, 50, 40, 60]):
        found = masks.pasted(np.ones((28, 28)), np.array(box, np.float64), 20, 30)
        middles = np.stack(np.meshgrid(np.arange(20) + 0.5, np.arange(30) + 0.5, indexing="ij"), -1)
        inside = ((middles > box[:2]) & (middles < box[2:])).all(axis=-1)
        assert found.shape == (20, 30) and np.abs(found.astype(int) - inside).sum() <= 2 * (found.any(0).sum() + found.any(1).sum()) / 28
    half = np.zeros((28, 28))
    half[:14] = 1
    assert np.array_equal(masks.pasted(half, np.array([0, 0, 20, 30]), 20, 30), np.arange(20)[:, None] + np.zeros(30) < 10)


@pytest.mark.parametrize("image_size", [96, 160])
def test_a_model_that_sees_the_truth_finds_all_masks(folder, image_size, monkeypatch):
    """The true masks at 28x28 in the true boxes of the square, on their way back to pixels of the original."""
    splits = boxed_images.splits(settings(folder, image_size=image_size), with_masks=True)
    known = {}
    for inputs, targets in rows(splits.test):
        crops = np.zeros((100, 28, 28), np.float32)
        boxes = np.pad(targets["boxes_yxyx"], [(0, 100 - len(targets["boxes_yxyx"])), (0, 0)])
        for place in np.flatnonzero(targets["class_ids"] >= 0):
            small = masks.small(targets["masks"][place:place + 1], targets["mask_corners"][place:place + 1])
            frames = small.frames_yxyx[None] * targets["scale"]
            crops[place] = layers.MaskCrop(28)(tf.cast(small.pixels[None], tf.float32) / 255, frames, boxes[None, place:place + 1])[0, 0]
        class_ids = np.pad(targets["class_ids"], (0, 100 - len(targets["class_ids"])), constant_values=-1)
        known[inputs["image"].tobytes()] = boxes, np.where(class_ids >= 0, 0.9, 0).astype(np.float32), class_ids, crops

    def detect(images):
        found = [known.get(image.tobytes(), next(iter(known.values()))) for image in images.numpy()]  # the batch is padded
        return {name: tf.stack(parts) for name, parts in zip(("boxes_yxyx", "scores", "class_ids", "masks"), zip(*found))}

    monkeypatch.setattr(metrics.graphs, "of_model", lambda *_: detect)
    figures = instance_evaluation.evaluate(None, splits.test, settings(folder), splits.spec.info, resamples=3)
    assert figures["ap"] == figures["mask_ap50"] == 1 and figures["mask_ap"] > 0.8
    assert set(figures["intervals"]) == {"mask_ap", "mask_ap50", "ap", "ap50"}


def pycocotools_masks(ground_truth, detections, class_names):
    """Returns the reference's figures for masks."""
    coco, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    sets = []
    for images, has_scores in ((ground_truth, False), (detections, True)):
        annotations = []
        for image, objects in enumerate(images):
            for i, runs in enumerate(objects["masks"]):
                area = masks.area(runs)
                annotation = {"id": len(annotations) + 1, "image_id": image, "category_id": int(objects["class_ids"][i]),
                              "segmentation": runs, "iscrowd": 0, "area": area}
                if has_scores:
                    annotation["score"] = float(objects["scores"][i])
                else:
                    annotation["iscrowd"] = int(objects["is_crowd"][i])
                    annotation["area"] = -1 if objects["is_difficult"][i] else area
                annotations.append(annotation)
        loaded = coco.COCO()
        loaded.dataset = {"images": [{"id": i, "height": truth["height"], "width": truth["width"]}
                                     for i, truth in enumerate(ground_truth)],
                          "annotations": annotations, "categories": [{"id": k, "name": n} for k, n in enumerate(class_names)]}
        with contextlib.redirect_stdout(io.StringIO()):
            loaded.createIndex()
        sets.append(loaded)
    with contextlib.redirect_stdout(io.StringIO()):
        reference = cocoeval.COCOeval(*sets, "segm")
        reference.evaluate()
        reference.accumulate()
        reference.summarize()
    names = {"ap": 0, "ap50": 1, "ap75": 2, "ap_small": 3, "ap_medium": 4, "ap_large": 5, "ar100": 8}
    return {name: reference.stats[place] for name, place in names.items()}


def random_case(random):
    height, width = random.integers(40, 160, 2)

    def blob(y, x, radius):
        rows, columns = np.mgrid[:height, :width]
        return (rows - y) ** 2 + 2 * (columns - x) ** 2 <= radius ** 2

    ground_truth, detections = [], []
    for _ in range(random.integers(1, 6)):
        n, m = random.integers(0, 6), random.integers(0, 9)
        places = np.stack([random.uniform(0, height, n), random.uniform(0, width, n), random.uniform(4, 45, n)], -1)
        guesses = np.stack([random.uniform(0, height, m), random.uniform(0, width, m), random.uniform(4, 45, m)], -1)
        class_ids = random.integers(0, 2, m)
        truth_ids = random.integers(0, 2, n)
        if n:
            source, is_near = random.integers(0, n, m), random.random(m) < 0.8
            guesses = np.where(is_near[:, None], places[source] + random.normal(0, random.choice([0, 1, 3]), (m, 3)), guesses)
            class_ids = np.where(is_near, truth_ids[source], class_ids)
        truth_masks, found_masks = ([masks.run_lengths(blob(*each)) for each in part] for part in (places, guesses))
        ground_truth.append({
            "height": int(height), "width": int(width), "boxes_yxyx": np.zeros((n, 4)), "class_ids": truth_ids,
            "is_crowd": random.random(n) < 0.2, "is_difficult": random.random(n) < 0.2, "masks": truth_masks})
        detections.append({"boxes_yxyx": np.zeros((m, 4)), "class_ids": class_ids, "scores": random.random(m), "masks": found_masks})
    return ground_truth, detections, ["a", "b"]


def test_mask_figures_equal_those_of_pycocotools():
    random, measured = np.random.default_rng(0), 0
    for _ in range(40):
        case = random_case(random)
        ours, reference = metrics.coco(*case, "segm"), pycocotools_masks(*case)
        assert {name: ours[name] for name in reference} == pytest.approx(reference, abs=1e-6)
        measured += 0 < ours["ap"] < 1
    assert measured > 20


def test_an_object_without_a_mask_is_neither_found_nor_missed():
    runs = masks.run_lengths(np.pad(np.ones((8, 8), bool), 6))
    truth = {"height": 20, "width": 20, "boxes_yxyx": np.array([[6, 6, 14, 14], [1, 1, 5, 5]], np.float64),
             "class_ids": np.array([0, 0]), "masks": [runs, None]}
    found = {"boxes_yxyx": truth["boxes_yxyx"][:1], "scores": np.array([0.9]), "class_ids": np.array([0]), "masks": [runs]}
    assert metrics.coco([truth], [found], ["a"], "segm")["ap"] == 1 and metrics.coco([truth], [found], ["a"])["ap"] < 1
    assert set(metrics.intervals([truth], [found], ["a"], 5, kind="segm")) == {"ap", "ap50"}
