"""What a localizer learns from, its losses and metrics by hand, and its pictures and answers."""
import io
import json
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

import training
from apps.localization import data, evaluation, localizer, pictures, serving
from training import cli
from training.app import App
from training.data.spec import Info
from training.serving import export
from training.vision.detection import boxed_images

ALONE = tf.distribute.InputContext()
NAMES = ["red", "größer", "$5 [on]"]


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


# data

def example(*things, image=None):
    """Returns a decoded example of `boxed_images.examples_of`; a thing is (box from 0 to 1, class id, kind)."""
    kinds = [thing[2] if len(thing) > 2 else "" for thing in things]
    return {"image": tf.constant(noise(20, 40) if image is None else image), "image_id": 0,
            "boxes": tf.reshape(tf.constant([thing[0] for thing in things], tf.float32), (-1, 4)),
            "class_ids": tf.constant([thing[1] for thing in things], tf.int32),
            "is_crowd": tf.constant([kind == "crowd" for kind in kinds], tf.bool),
            "is_difficult": tf.constant([kind == "difficult" for kind in kinds], tf.bool)}


@pytest.mark.parametrize("things, box, class_id", [
    ([], (0, 0, 0, 0), -1),
    ([((0.1, 0.1, 0.3, 0.3), 2), ((0.5, 0.5, 1.0, 0.7), 1)], (10, 20, 20, 28), 1),
    ([((0, 0, 1, 1), 2, "crowd"), ((0, 0, 1, 1), 1, "difficult"), ((0.5, 0.5, 0.6, 0.6), 0)], (10, 20, 12, 24), 0),
    ([((0, 0, 1, 1), 2, "crowd")], (0, 0, 0, 0), -1),
    ([((0.5, 0.5, 0.5, 0.9), 2), ((np.nan, 0, 1, 1), 1)], (0, 0, 0, 0), -1),
    ([((-1, 0.5, 2, 0.75), 2), ((0, 0, 0.2, 0.2), 1)], (0, 20, 20, 30), 2),
])
def test_the_largest_object_that_is_no_crowd(things, box, class_id):
    found, label = data.largest(example(*things))
    np.testing.assert_allclose(found, box, atol=1e-4)
    assert label == class_id


def coco_set(folder, train, validation):
    """Writes a set like TFDS's coco/2017; each image is a list of objects, dicts with what differs from one box."""
    known = tfds.builder("coco/2017", data_dir=folder)
    kinds = dict(area=np.int64, bbox=np.float32, id=np.int64, is_crowd=bool, label=np.int64)

    def element(number, things):
        things = [{"bbox": (0.1, 0.2, 0.5, 0.6), "label": 3} | thing for thing in things]
        objects = {key: np.array([thing.get(key, 0) for thing in things], kind).reshape((-1, 4) if key == "bbox" else -1)
                   for key, kind in kinds.items()}
        return {"image": noise(30, 40, number), "image/filename": "a.jpg", "image/id": number, "objects": objects}

    splits = {"train": [element(*each) for each in enumerate(train)], "validation": [element(*each) for each in enumerate(validation)]}
    tfds.dataset_builders.store_as_tfds_dataset(
        name=known.name, version=str(known.version), features=known.info.features, config=known.builder_config.name, data_dir=folder,
        split_datasets={name: tf.data.Dataset.from_generator(
            lambda e=elements: iter(e), output_signature=known.info.features.get_tensor_spec()) for name, elements in splits.items()})


def settings(folder, **changes):
    return App("localization").config(
        data_dir=str(folder), **dict(dataset="coco/2017", image_size=80, batch_size=2, augment=False) | changes)


def test_images_without_an_object_are_counted_and_marked(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(boxed_images.sources, "parts", lambda prepared: dict(train="train", validation="validation", test="validation"))
    coco_set(tmp_path, [[{}], [], [{}, {"bbox": (0, 0, 1, 1), "is_crowd": True}], [{"is_crowd": True}]], [[{}], []])
    capsys.readouterr()
    splits = data.datasets(settings(tmp_path))
    assert capsys.readouterr().out.splitlines() == [
        "coco/2017, train: 2 of 4 images contain no object and are left out (boxes in this split: 4, crowds or difficult: 2)",
        *[f"coco/2017, {part}: 1 of 2 images contain no object and are left out (boxes in this split: 1, crowds or difficult: 0)"
          for part in ("validation", "test")]]
    assert splits.spec.targets == {"label": tf.TensorSpec([None], tf.int32), "box_yxyx": tf.TensorSpec([None, 4])}
    trained = [targets for _, targets in splits.train(0, 0, ALONE).unbatch().as_numpy_iterator()]
    assert sorted(targets["label"] for targets in trained) == [-1, -1, 3, 3]
    for targets in trained:  # the image of 30 x 40 pixels is enlarged to a square of 80
        np.testing.assert_allclose(targets["box_yxyx"], (6, 16, 30, 48) if targets["label"] == 3 else np.zeros(4), atol=1e-3)
    tested = [targets for _, targets in splits.test.unbatch().as_numpy_iterator()]
    assert [targets["label"] for targets in tested] == [3, -1]


@pytest.mark.parametrize("train, test, words", [
    ([[]] * 20, [[{}]], "the training split of coco/2017 contains no objects to learn"),
    ([[{}]] * 20, [[], [{"is_crowd": True}]], "the test split of coco/2017 contains no objects to locate"),
])
def test_nothing_to_learn_or_to_test_on_is_refused(tmp_path, train, test, words):
    coco_set(tmp_path, train, test)
    with pytest.raises(training.UserError, match=words):
        data.datasets(settings(tmp_path))


def test_augmentation_depends_on_the_seed_only_and_moves_the_box_with_the_object():
    recipe = boxed_images.augmentation.PHOTOGRAPHS._replace(brightness=0.0, contrast=0.0, saturation=0.0, tint=0.0, scale=(0.7, 1.3))
    image = np.full((60, 80, 3), 40, np.uint8)
    image[12:30, 20:50] = 220
    things = example(((12 / 60, 20 / 80, 30 / 60, 50 / 80), 1), image=image)
    kept = 0
    for seed in range(8):
        (inputs, targets), (again, _) = (data._augmented(things, (seed, 0), 80, recipe) for _ in range(2))
        np.testing.assert_array_equal(inputs["image"], again["image"])
        bright = np.argwhere(inputs["image"].numpy().min(-1) > 130)
        if targets["label"] == 1:
            kept += 1
            box = np.concatenate([bright.min(0), bright.max(0) + 1])
            assert np.abs(targets["box_yxyx"] - box).max() <= 1.5
    assert kept >= 4


# the network

@pytest.mark.parametrize("per_class, separate", [(False, False), (True, False), (False, True), (True, True)])
def test_boxes_and_heads(per_class, separate):
    """One box or one for each class, one hidden layer or two; the box of the most probable class is the prediction."""
    model = localizer.Localizer(32, 3, backbone_kind="small", stride=8, has_box_per_class=per_class, has_separate_heads=separate,
                                hidden_units=4)
    images = np.stack([noise(32, 32, seed) for seed in range(5)])
    names = {layer.name for layer in model._flatten_layers()}
    assert {"class_hidden", "box_hidden"} <= names if separate else "shared_hidden" in names and "box_hidden" not in names
    model.network.get_layer("offsets").bias.assign(np.random.default_rng(0).normal(size=12 if per_class else 4) / 4)
    found, located = model({"image": images}), model.locate(images)
    assert found["boxes_yxyx"].shape == (5, 3 if per_class else 1, 4)
    best = np.argmax(found["label"], axis=1) if per_class else np.zeros(5, int)
    np.testing.assert_allclose(located["box_yxyx"], np.clip(found["boxes_yxyx"].numpy()[range(5), best], 0, 32), rtol=1e-5)
    np.testing.assert_allclose(np.exp(located["log_probabilities"]).sum(axis=1), 1, rtol=1e-5)
    kernel, bias = model.network.get_layer("label").weights
    np.testing.assert_allclose(model.embed(images) @ kernel.numpy() + bias.numpy(), found["label"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("per_class", [False, True])
def test_the_losses_by_hand(per_class):
    model = localizer.Localizer(32, 3, backbone_kind="small", stride=4, has_box_per_class=per_class, box_weight=2.0)
    images = np.stack([noise(32, 32, seed) for seed in range(3)])
    truth = np.array([[4, 4, 20, 20], [0, 0, 0, 0], [1, 2, 30, 12]], "float32")
    labels = np.array([2, -1, 0])
    found = {name: value.numpy().astype(float) for name, value in model({"image": images}).items()}
    entropy, error = [], []
    for row in (0, 2):  # the other one has no object
        logits, box = found["label"][row], found["boxes_yxyx"][row, labels[row] if per_class else 0]
        entropy.append(np.log(np.exp(logits).sum()) - logits[labels[row]])
        distance = np.abs(box - truth[row]) / 3.2  # in tenths of the side
        error.append(np.where(distance < 1 / 9, 4.5 * distance ** 2, distance - 1 / 18).sum())
    losses = model.losses(images, {"label": tf.constant(labels, tf.int32), "box_yxyx": tf.constant(truth)}, training=False)
    np.testing.assert_allclose([losses["class"], losses["box"]], [np.mean(entropy), 2 * np.mean(error)], rtol=1e-4)
    nothing = model.losses(images, {"label": tf.fill(3, -1), "box_yxyx": tf.zeros((3, 4))}, training=True)
    assert [float(value) for value in nothing.values()] == [0, 0]


def test_a_stride_that_the_backbone_lacks_is_refused():
    with pytest.raises(training.UserError, match="--stride 32 must be a stride of the backbone: 4, 8, 16$"):
        localizer.Localizer(64, 3, backbone_kind="small", stride=32)


# metrics, pictures, serving

class Known(keras.Model):
    """Answers what is written in the first three blocks of 8 x 8 pixels: class id, and box in pixels."""

    def build(self, input_shape=None):
        self.gain = self.add_weight(name="gain", shape=(), initializer="ones")
        self.built = True

    def locate(self, images):
        written = tf.round(tf.cast(images[:, 4, 4:24:8], tf.float32))
        class_ids = tf.cast(written[:, 0, 0], tf.int32) % 3
        log_probabilities = tf.math.log(tf.one_hot(class_ids, 3, 0.8, 0.1)) * self.gain
        return {"log_probabilities": log_probabilities,
                "box_yxyx": tf.concat([written[:, 1, :2], written[:, 2, :2]], axis=-1) * self.gain}

    def embed(self, images):
        return tf.reduce_mean(tf.cast(images, tf.float32), axis=(1, 2)) * self.gain


@pytest.fixture(scope="module")
def known():
    model = Known()
    model.build()
    return model


def batches():
    """Returns test batches, with one image without an object, and what `Known` answers for them."""
    images = np.stack([noise(64, 64, seed) for seed in range(6)])
    answers = [(0, (0, 0, 20, 20)), (1, (0, 0, 20, 20)), (2, (10, 10, 30, 30)), (0, (9, 9, 40, 40)), (1, (5, 5, 15, 10)), (2, (0, 0, 0, 0))]
    for image, (class_id, box) in zip(images, answers):
        image[:8, :24] = np.repeat([(class_id, 0, 0), (*box[:2], 0), (*box[2:], 0)], 8, axis=0)
    truth = np.array([(0, 0, 20, 20), (0, 0, 20, 10), (10, 25, 30, 45), (0, 0, 0, 0), (5, 5, 15, 10), (1, 1, 9, 9)], "float32")
    labels = np.array([0, 1, 2, -1, 0, 2], "int32")
    return tf.data.Dataset.from_tensor_slices(({"image": images}, {"label": labels, "box_yxyx": truth})).batch(4)


def test_metrics_of_known_answers(known, capsys):
    config, info = types.SimpleNamespace(limit_steps=None, seed=0), Info(class_names=NAMES)
    metrics = evaluation.evaluate(known, batches(), config, info, resamples=50)
    ious = [1, 0.5, 100 / 700, 1, 0]  # without the image that has no object
    right = [1, 1, 1, 0, 1]
    assert metrics["accuracy"] == 0.8 and metrics["localized"] == pytest.approx(2 / 5)
    assert metrics["mean_iou"] == pytest.approx(np.mean(ious)) and metrics["right_iou"] == pytest.approx(np.mean(np.multiply(ious, right)))
    assert metrics["per_class_iou"] == pytest.approx({"red": 1, "größer": 0.5, "$5 [on]": 50 / 700})
    assert metrics["per_class_localized"] == {"red": 0.5, "größer": 1, "$5 [on]": 0}
    assert set(metrics["intervals"]) == {"localized", "right_iou", "mean_iou", "accuracy"}
    for name, (low, high) in metrics["intervals"].items():
        assert 0 <= low <= metrics[name] <= high <= 1 and low < high
    assert json.dumps(metrics) and next(iter(metrics)) == "localized"
    evaluation.table(metrics)
    shown = capsys.readouterr().out
    assert all(name in shown for name in NAMES) and "0.400" in shown


def test_iou_of_pairs_and_of_what_is_no_box():
    first = [(0, 0, 2, 2), (0, 0, 2, 2), (3, 3, 1, 1), (np.nan, 0, 1, 1)]
    np.testing.assert_allclose(evaluation.pair_iou(first, [(0, 0, 2, 4), (5, 5, 6, 6), (0, 0, 9, 9), (0, 0, 1, 1)]), [0.5, 0, 0, 0])


def test_pictures_show_the_worst_first(known):
    test, info = list(batches()), Info(class_names=NAMES)
    found = evaluation.located(known, test)
    assert found["place"].tolist() == [0, 1, 2, 4, 5]
    made = pictures.pictures(test, found, info)
    assert set(made) == {"located", "worst", "confusion"}
    assert all(picture.dtype == np.uint8 and picture.shape[0] == 1 and picture.shape[-1] == 3 for picture in made.values())
    first = pictures._drawn(np.concatenate([inputs["image"] for inputs, _ in test])[found["place"]], found, [3, 4, 2, 1], info)
    np.testing.assert_array_equal(made["worst"][:, :first.shape[1]], first)  # a wrong class, IoU 0, 1/7 and 1/2
    vectors, rows, thumbnails = pictures.embedding(known, test, info)
    assert vectors.shape == (5, 3) and thumbnails.shape == (5, 32, 32, 3) and [row["class"] for row in rows][:2] == NAMES[:2]


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def test_the_served_box_is_in_pixels_of_the_sent_image(known, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, info = types.SimpleNamespace(image_size=64), Info(class_names=NAMES)
    version = export.export(tmp_path / "saved_models" / "localization", known, serving.signatures(known, config, info),
                            warmup=serving.warmup(config))
    square = next(iter(batches()))[0]["image"][2].numpy()
    large = np.zeros((128, 96, 3), np.uint8)  # each pixel of the square becomes 2 x 2
    large[:64, :64] = square[:32, :32].repeat(2, axis=0).repeat(2, axis=1)
    answer = export.answer(version, {"image_bytes": [png(square), b"no image", png(large)]})
    np.testing.assert_allclose(answer["box_yxyx"], [(10, 10, 30, 30), (0, 0, 0, 0), (20, 20, 60, 60)], atol=0.1)
    assert answer["class_names"][:, 0].tolist() == [NAMES[2].encode(), b"", NAMES[2].encode()]
    assert answer["class_ids"][1].tolist() == [-1] * 3 and not answer["scores"][1].any()
    assert [bool(error) for error in answer["error"]] == [False, True, False]
    (tmp_path / "photo.png").write_bytes(png(large))
    cli.main("apps.localization", ["predict", "photo.png"])
    written = json.loads((tmp_path / "predictions" / "photo.json").read_text())
    assert written["classes"][0]["class_name"] == NAMES[2] and np.allclose(written["box_yxyx"], (20, 20, 60, 60), atol=0.1)
    with Image.open(tmp_path / "predictions" / "photo.png") as drawn:
        assert drawn.size[0] % 96 == 0
