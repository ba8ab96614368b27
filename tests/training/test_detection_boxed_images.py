"""What detectors are fed: geometry, padding, augmentation, and sets of others mapped to the same elements."""
import re

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import training
from training.app import App
from training.data import sources
from training.datasets import digit_scenes
from training.vision.detection import augmentation, boxed_images

ALONE = tf.distribute.InputContext()
COUNTS = {"train": 20, "validation": 5, "test": 7}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Returns a data_dir with a small digit_scenes."""
    folder = str(tmp_path_factory.mktemp("prepared"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digit_scenes, "EXAMPLES", COUNTS)
        sources.builder("digit_scenes", training.Config(data_dir=folder))
    return folder


def resolved(folder, **changes):
    return App("detection").config(data_dir=str(folder), **({"batch_size": 4} | changes))


def rows(batches):
    """Returns the elements of a dataset of batches one by one, as (inputs, targets) of numpy arrays."""
    return list(batches.unbatch().as_numpy_iterator())


# digit_scenes, as the defaults have it

def test_elements_are_what_the_contract_says(folder):
    splits = boxed_images.datasets(resolved(folder))
    assert splits.spec.inputs == {"image": tf.TensorSpec([None, 128, 128, 3], tf.uint8)}
    assert splits.spec.targets == {
        "boxes_yxyx": tf.TensorSpec([None, 8, 4], tf.float32), "class_ids": tf.TensorSpec([None, 8], tf.int32),
        "ignore": tf.TensorSpec([None, 8], tf.bool)}
    assert splits.spec.info.class_names == [str(digit) for digit in range(10)]
    for split in (splits.validation, splits.test):
        inputs, targets = split.element_spec
        assert inputs["image"].shape == (None, 128, 128, 3) and inputs["image"].dtype == tf.uint8
        kinds = {name: (part.shape.rank, part.dtype) for name, part in targets.items()}
        assert kinds == {
            "boxes_yxyx": (3, tf.float32), "class_ids": (2, tf.int32), "ignore": (2, tf.bool),
            "is_crowd": (2, tf.bool), "is_difficult": (2, tf.bool), "image_id": (1, tf.int64),
            "scale": (1, tf.float32), "height": (1, tf.int32), "width": (1, tf.int32)}
    assert [len(rows(splits.validation)), len(rows(splits.test))] == [5, 7]


def test_without_augmentation_the_stored_scenes_come_back(folder):
    prepared = sources.builder("digit_scenes", training.Config(data_dir=folder))
    splits = boxed_images.datasets(resolved(folder, augment=False))
    for split, batches in (("train", splits.train(0, 0, ALONE)), ("test", splits.test)):
        stored = {example["image"].tobytes(): example for example in sources.read(prepared, split).as_numpy_iterator()}
        found = rows(batches)
        assert len(found) == COUNTS[split]
        for inputs, targets in found:
            example = stored.pop(inputs["image"].tobytes())
            count = len(example["objects"]["label"])
            assert np.allclose(targets["boxes_yxyx"][:count], example["objects"]["bbox"] * 128, atol=1e-4)
            assert targets["class_ids"].tolist() == [
                *example["objects"]["label"], *[-1] * (len(targets["class_ids"]) - count)]
            assert not targets["boxes_yxyx"][count:].any() and not targets["ignore"].any()
            if split == "test":
                assert targets["image_id"] == example["image/id"]
                assert (targets["scale"], targets["height"], targets["width"]) == (1, 128, 128)


def test_training_is_a_function_of_seed_and_epoch_and_can_be_resumed(folder):
    batches = boxed_images.datasets(resolved(folder)).train
    again = boxed_images.datasets(resolved(folder)).train
    first = list(batches(1, 0, ALONE).as_numpy_iterator())
    for other, start in ((list(again(1, 0, ALONE).as_numpy_iterator()), 0),
                         (list(batches(1, 3, ALONE).as_numpy_iterator()), 3)):
        assert len(other) == len(first) - start
        tf.nest.map_structure(np.testing.assert_array_equal, other, first[start:])
    next_epoch = next(iter(batches(2, 0, ALONE).as_numpy_iterator()))
    assert not np.array_equal(next_epoch[0]["image"], first[0][0]["image"])
    other_seed = boxed_images.datasets(resolved(folder, seed=1)).train
    assert not np.array_equal(next(iter(other_seed(1, 0, ALONE)))[0]["image"], first[0][0]["image"])


def test_a_set_that_is_too_large_for_memory_gives_the_same(folder, monkeypatch):
    def all_batches():
        splits = boxed_images.datasets(resolved(folder))
        return [list(batches.as_numpy_iterator()) for batches in (splits.train(1, 1, ALONE), splits.test)]

    cached = all_batches()
    monkeypatch.setattr(boxed_images, "LARGEST_CACHE", 0)
    tf.nest.map_structure(np.testing.assert_array_equal, all_batches(), cached)


def test_augmented_boxes_stay_in_the_picture_and_objects_come_before_the_ignored(folder):
    batches = boxed_images.datasets(resolved(folder)).train
    ignored = 0
    for epoch in range(3):
        for _, targets in rows(batches(epoch, 0, ALONE)):
            real = targets["class_ids"] >= 0
            boxes = targets["boxes_yxyx"]
            assert (boxes >= 0).all() and (boxes <= 128).all()
            assert (boxes[real, 2:] - boxes[real, :2] >= 1).all() and not boxes[~real].any()
            order = np.where(~real, 2, targets["ignore"].astype(int))
            assert sorted(order) == order.tolist()
            ignored += targets["ignore"].sum()
    assert ignored > 0


def test_a_batch_that_no_epoch_fills_is_refused(folder):
    with pytest.raises(training.UserError, match="20 examples, fewer than one batch of 32"):
        boxed_images.datasets(resolved(folder, batch_size=32))


# augmentation

def painted(height, width, box):
    """Returns a dark picture with one bright box."""
    image = np.full((height, width, 3), 40, np.uint8)
    image[box[0]:box[2], box[1]:box[3]] = 220
    return image


def augmenter(size, recipe):
    """Returns augment(image, boxes_yxyx, seed) as one graph for images of all sizes."""
    return tf.function(
        lambda image, boxes_yxyx, seed: augmentation.augment(image, boxes_yxyx, size, seed, recipe),
        input_signature=[tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([None, 4]), tf.TensorSpec([2], tf.int32)])


NO_BOXES = tf.zeros((0, 4))
PLAIN_COLOURS = dict(brightness=0.0, contrast=0.0, saturation=0.0, tint=0.0)


@pytest.mark.parametrize("name", ["digit_scenes", "bccd", "photographs"])
def test_boxes_follow_the_picture(name):
    recipe = augmentation.RECIPES.get(name, augmentation.PHOTOGRAPHS)._replace(**PLAIN_COLOURS)
    size = 96
    augment = augmenter(size, recipe)
    whole = cut = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        height, width = random.integers(60, 200, 2) if seed % 4 == 0 else [80, 80]
        top, left = random.integers(0, height - 30), random.integers(0, width - 30)
        box = np.array([top, left, top + random.integers(15, 30), left + random.integers(15, 30)])
        image, boxes, seen = augment(painted(height, width, box), box[None].astype(np.float32), (seed, 3))
        bright = image.numpy()[..., 0] > 130
        if seen[0] < 0.05:
            continue
        ys, xs = np.nonzero(bright)
        found = np.array([ys.min(), xs.min(), ys.max() + 1, xs.max() + 1])
        assert np.abs(found - boxes[0].numpy()).max() <= 1.0, seed
        # the bright area is the share that is seen of what the whole box would cover
        area = np.prod(boxes[0, 2:] - boxes[0, :2])
        assert abs(bright.sum() - area) <= 2 * (found[2] + found[3] - found[0] - found[1])
        whole += float(seen[0]) > 0.999
        cut += float(seen[0]) < 0.95
    assert whole >= 10 and cut >= 1


def test_the_share_that_is_seen():
    recipe = augmentation.PHOTOGRAPHS._replace(flip_horizontal=False, scale=(2.0, 2.0))
    boxes = np.array([[0, 0, 32, 32], [0, 0, 64, 64], [16, 16, 48, 48]], np.float32)
    augment = augmenter(64, recipe)
    for seed in range(5):
        _, clipped, seen = augment(tf.zeros((64, 64, 3), tf.uint8), boxes, (seed, 0))
        areas = np.prod(clipped.numpy()[:, 2:] - clipped.numpy()[:, :2], axis=1)
        assert np.allclose(seen, areas / (4 * np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)), atol=1e-5)
        assert np.isclose(seen[1], 0.25, atol=1e-5)  # of the whole picture, twice as large, a quarter


def orientations(recipe, count=60):
    """Returns the ways in which the corners of a picture appear after augmentation."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[:32, :32], image[:32, 32:], image[32:, :32], image[32:, 32:] = 60, 120, 180, 240
    augment = augmenter(64, recipe._replace(scale=(1.0, 1.0), **PLAIN_COLOURS))
    found = set()
    for seed in range(count):
        turned = augment(image, NO_BOXES, (seed, 0))[0].numpy()
        found.add(tuple(int(turned[y, x, 0]) for y, x in ((8, 8), (8, 56), (56, 8), (56, 56))))
    return found


def test_digits_are_never_mirrored_and_cells_are_turned_every_way():
    assert orientations(augmentation.RECIPES["digit_scenes"]) == {(60, 120, 180, 240)}
    assert orientations(augmentation.PHOTOGRAPHS) == {(60, 120, 180, 240), (120, 60, 240, 180)}
    assert len(orientations(augmentation.RECIPES["bccd"])) == 8


def test_colours_change_and_the_fill_stays_black():
    augment = augmenter(64, augmentation.PHOTOGRAPHS._replace(scale=(0.5, 0.5)))
    image = np.random.default_rng(0).integers(60, 200, (64, 64, 3), np.uint8)
    means = []
    for seed in range(8):
        changed = augment(image, NO_BOXES, (seed, 0))[0].numpy()
        inside = changed.max(-1) > 0
        assert 30 * 30 <= inside.sum() <= 33 * 33
        means.append(changed[inside].mean(0))
    assert np.std(means, axis=0).min() > 5
    assert np.std(np.array(means)[:, 0] - np.array(means)[:, 2]) > 1  # not only brighter or darker


def test_an_unchanged_picture_is_the_fitted_one():
    from training.vision import images

    recipe = augmentation.Recipe(flip_horizontal=False, scale=(1.0, 1.0), **PLAIN_COLOURS)
    image = tf.constant(np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8))
    for size in (64, 100, 150):
        changed, _, _ = augmenter(size, recipe)(image, NO_BOXES, (0, 0))
        fitted, _ = images.fit_square(image, size)
        assert np.abs(changed.numpy().astype(float) - fitted.numpy()).max() <= 1


# sets of others

def store(folder, name, splits):
    """Writes a prepared set with the features that TFDS gives the set of that name: {split: list of examples}."""
    known = tfds.builder(name, data_dir=folder)
    tfds.dataset_builders.store_as_tfds_dataset(
        name=known.name, version=str(known.version), features=known.info.features, config=known.builder_config.name,
        data_dir=folder, split_datasets={
            split: tf.data.Dataset.from_generator(
                lambda e=examples: iter(e), output_signature=known.info.features.get_tensor_spec())
            for split, examples in splits.items()})


def columns(things, **kinds):
    """Returns a list of dicts as a dict of arrays."""
    return {key: np.array([thing.get(key, 0) for thing in things], kind).reshape(
        (-1, 4) if key == "bbox" else -1) for key, kind in kinds.items()}


def noise(height, width, seed):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_tfds_s_voc_keeps_difficult_objects_as_such(tmp_path):
    things = [{"bbox": (0.1, 0.2, 0.5, 0.6), "label": 11, "is_difficult": True},
              {"bbox": (0.5, 0.25, 1.0, 0.75), "label": 7}]
    objects = columns(things, bbox=np.float32, label=np.int64, is_difficult=bool, is_truncated=bool, pose=np.int64)
    example = {"image": noise(60, 80, 0), "image/filename": "a.jpg", "labels": [7, 11], "labels_no_difficult": [7],
               "objects": objects}
    store(tmp_path, "voc/2007", {"train": [example] * 4, "validation": [example], "test": [example] * 2})
    splits = boxed_images.datasets(resolved(tmp_path, dataset="voc/2007", image_size=40, augment=False))
    assert splits.spec.info.class_names[11] == "dog"
    for inputs, targets in rows(splits.test):
        assert targets["scale"] == 0.5 and (targets["height"], targets["width"]) == (60, 80)
        assert np.allclose(targets["boxes_yxyx"], [(3, 8, 15, 24), (15, 10, 30, 30)], atol=1e-4)
        assert not inputs["image"][30:].any() and inputs["image"][:30].any()  # top left, the rest black
        assert targets["class_ids"].tolist() == [11, 7]
        assert targets["is_difficult"].tolist() == targets["ignore"].tolist() == [True, False]
        assert not targets["is_crowd"].any()
    assert [targets["image_id"] for _, targets in rows(splits.test)] == [0, 1]
    _, targets = next(iter(splits.train(0, 0, ALONE)))
    # what is neither object nor background comes last
    assert targets["class_ids"][0, :3].numpy().tolist() == [7, 11, -1]
    assert targets["ignore"][0, :3].numpy().tolist() == [False, True, False]


def test_tfds_s_coco_is_judged_on_validation_and_loses_no_object(tmp_path):
    def example(number, count):
        things = [{"bbox": (0.1, 0.01 * k, 0.9, 0.01 * k + 0.5), "label": k, "is_crowd": k == 1} for k in range(count)]
        return {"image": noise(40, 40, number), "image/filename": "a.jpg", "image/id": number, "objects": columns(
            things, area=np.int64, bbox=np.float32, id=np.int64, is_crowd=bool, label=np.int64)}

    store(tmp_path, "coco/2017", {
        "train": [example(number, 1 + number % 3) for number in range(100, 120)],
        "validation": [example(1000, 0), example(1001, 12)],
        "test": [example(number, 0) for number in range(2000, 2003)]})
    splits = boxed_images.datasets(
        resolved(tmp_path, dataset="coco/2017", image_size=40, max_objects=2, augment=False))
    assert splits.spec.targets["class_ids"].shape == (None, 2)
    test = {int(targets["image_id"]): targets for _, targets in rows(splits.test)}
    assert set(test) == {1000, 1001}
    assert test[1001]["class_ids"].tolist() == list(range(12))
    assert np.flatnonzero(test[1001]["is_crowd"]).tolist() == np.flatnonzero(test[1001]["ignore"]).tolist() == [1]
    assert (test[1000]["class_ids"] == -1).all()
    # chosen on a slice of train that is not trained on
    chosen = {int(targets["image_id"]) for _, targets in rows(splits.validation)}
    trained = [inputs["image"].tobytes() for inputs, _ in rows(splits.train(0, 0, ALONE))]
    assert len(chosen) == 2 and chosen <= set(range(100, 120))
    assert not {inputs["image"].tobytes() for inputs, _ in rows(splits.validation)} & set(trained)
    # the ignored crowd gives way to the second object
    three = [targets for _, targets in rows(splits.train(0, 0, ALONE)) if targets["class_ids"].tolist() == [0, 2]]
    assert three and not any(targets["ignore"].any() for targets in three)


def coco_set(folder, train, validation):
    """Writes a set like TFDS's coco/2017; each image is a list of objects as dicts with what differs from one box."""
    def example(number, things):
        things = [{"bbox": (0.1, 0.2, 0.5, 0.6), "label": place % 80} | thing for place, thing in enumerate(things)]
        return {"image": noise(40, 40, number), "image/filename": "a.jpg", "image/id": number, "objects": columns(
            things, area=np.int64, bbox=np.float32, id=np.int64, is_crowd=bool, label=np.int64)}

    store(folder, "coco/2017", {"train": [example(*each) for each in enumerate(train)],
                                "validation": [example(*each) for each in enumerate(validation, 100)]})


def test_more_objects_than_there_is_room_for_are_counted_and_never_background(tmp_path, capsys):
    plain, crowd = {}, {"is_crowd": True}
    coco_set(tmp_path, [[plain] * 2 + [crowd], [plain] * 5 + [crowd]] * 10, [[plain] * 101, [plain]])
    capsys.readouterr()
    config = resolved(tmp_path, dataset="coco/2017", image_size=40, max_objects=3, augment=False)
    splits = boxed_images.datasets(config)
    train, test = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"coco/2017, train: (8|9|10) images have more objects than --max-objects 3 \(the most: 5\); the excess "
                        "objects are ignored in training, neither objects nor background", train)
    assert test == (
        "coco/2017, test: 1 image has more objects than the limit of 100 detections (the most: 101); "
        "the excess objects cannot be found")
    assert splits.spec.targets["ignore"].shape == (None, 6)
    for _, targets in rows(splits.train(0, 0, ALONE)):
        count = (targets["class_ids"] >= 0).sum()
        assert count in (3, 6)  # all of them are there
        assert targets["ignore"].tolist() == [place >= (2 if count == 3 else 3) and place < count for place in range(6)]


@pytest.mark.parametrize("things, words", [
    ([], "images: 18, boxes: 0, crowds or difficult: 0, with a side below one pixel at --image-size 40: 0"),
    ([{"is_crowd": True}] * 2, "images: 18, boxes: 36, crowds or difficult: 36, with a side below one pixel at --image-size 40: 0"),
    ([{"bbox": (0.1, 0.1, 0.1 + 0.9 / 40, 0.5)}, {"is_crowd": True}],
     "images: 18, boxes: 36, crowds or difficult: 18, with a side below one pixel at --image-size 40: 18"),
])
def test_nothing_to_learn_is_refused_at_once(tmp_path, things, words):
    coco_set(tmp_path, [things] * 20, [[{}]])
    with pytest.raises(training.UserError, match=re.escape(f"the training split of coco/2017 contains no objects to learn ({words})")):
        boxed_images.datasets(resolved(tmp_path, dataset="coco/2017", image_size=40))


def test_nothing_to_find_is_said(tmp_path, capsys):
    coco_set(tmp_path, [[{}]] * 20, [[{"is_crowd": True}]])
    capsys.readouterr()
    boxed_images.datasets(resolved(tmp_path, dataset="coco/2017", image_size=40))
    assert capsys.readouterr().out == (
        "coco/2017, test: this split contains no objects, so its metrics are meaningless (images: 1, boxes: 1, crowds or "
        "difficult: 1)\n")


def test_a_validation_split_without_an_object_chooses_nothing(tmp_path, monkeypatch, capsys):
    coco_set(tmp_path, [[{}]] * 20, [[{}]])
    config = resolved(tmp_path, dataset="coco/2017", image_size=40)
    parts = {"train": "train", "test": "validation"}
    assert boxed_images.datasets(config).validation is not None
    coco_set(tmp_path / "other", [[{}]] * 20, [[]])
    monkeypatch.setattr(boxed_images.sources, "parts", lambda prepared: parts | {"validation": "validation"})
    assert boxed_images.datasets(resolved(tmp_path / "other", dataset="coco/2017", image_size=40)).validation is None
    assert "validation: this split contains no objects, so the last weights are kept (images: 1" in capsys.readouterr().out


def test_boxes_that_are_none_are_left_out(tmp_path):
    example = {"image": tf.zeros((20, 40, 3), tf.uint8), "class_ids": tf.range(4),
               "boxes": tf.constant([[0.1, 0.1, 0.5, 0.5], [0.5, 0.5, 0.5, 0.9], [np.nan, 0, 1, 1], [-1, 0.5, 2, 0.9]])}
    boxes, is_box = boxed_images.boxes_in_pixels(example)
    assert is_box.numpy().tolist() == [True, False, False, True]
    assert np.allclose(boxes, [(2, 4, 10, 20), (0, 0, 0, 0), (0, 0, 0, 0), (0, 20, 20, 36)])


def test_a_set_without_boxes_is_refused(tmp_path):
    features = tfds.features.FeaturesDict({"number": np.int64})
    tfds.dataset_builders.store_as_tfds_dataset(
        name="mnist", version="3.0.1", features=features, data_dir=tmp_path,
        split_datasets={"train": tf.data.Dataset.from_tensors({"number": tf.constant(1, tf.int64)})})
    with pytest.raises(training.UserError, match="mnist is not a detection data set"):
        boxed_images.datasets(resolved(tmp_path, dataset="mnist"))
