"""What a client gets for images of every kind, and how often a class is the right one."""
import io

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from apps.classification import evaluation, serving
from training.app import App
from training.data.spec import Info, Spec
from training.vision.labelled_images import ImageInfo

APP = App("classification")
CLASSES = 7


def resolved(**changes):
    return APP.config("resnet", width=4, image_size=16, **changes)


def model_of(channels=3, classes=CLASSES):
    info = ImageInfo(class_names=[f"kind {k}" for k in range(classes)], mean=[100.0] * channels, std=[50.0] * channels)
    spec = Spec({"image": tf.TensorSpec([None, 16, 16, channels], tf.uint8)}, {"label": tf.TensorSpec([None], tf.int32)}, info)
    return APP.build_model(resolved(), spec, steps=10), info


def png(height, width, mode="RGB"):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width) if mode == "L" else (height, width, 3), np.uint8)
    file = io.BytesIO()
    PIL.Image.fromarray(pixels, mode).save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_any_size_are_answered_and_a_damaged_one_says_so(channels):
    model, info = model_of(channels)
    function, _ = serving.signatures(model, resolved(), info)["serving_default"]
    answer = {name: value.numpy() for name, value in
              tf.function(function)(tf.constant([png(16, 16), png(40, 9, "L"), b"no image", png(16, 16)[:60]])).items()}
    assert [bool(error) for error in answer["error"]] == [False, False, True, True]
    np.testing.assert_allclose(answer["probabilities"].sum(axis=1), [1, 1, 0, 0], rtol=1e-5)
    assert answer["scores"].shape == (4, 5) and (np.diff(answer["scores"], axis=1) <= 0).all()
    for row in (0, 1):
        order = np.argsort(-answer["probabilities"][row], kind="stable")[:5]
        assert answer["class_ids"][row].tolist() == order.tolist()
        assert answer["class_names"][row].tolist() == [f"kind {k}".encode() for k in order]
    assert (answer["class_ids"][2:] == -1).all() and (answer["class_names"][2:] == b"").all()
    assert all(len(value) == 0 for value in tf.function(function)(tf.constant([], tf.string)).values())


def test_a_set_of_few_classes_has_fewer_best_ones():
    model, info = model_of(classes=2)
    function, _ = serving.signatures(model, resolved(), info)["serving_default"]
    assert tf.function(function)(tf.constant([png(16, 16)]))["class_names"].shape == (1, 2)


def test_an_answer_is_a_document_and_lines(tmp_path):
    model, info = model_of()
    function, _ = serving.signatures(model, resolved(), info)["serving_default"]
    answer = {name: value.numpy() for name, value in tf.function(function)(tf.constant([png(20, 20), b"nothing"])).items()}
    (first, said), (second, refused) = (
        serving.present(None, {name: value[row:row + 1] for name, value in answer.items()}, None) for row in range(2))
    assert len(first["classes"]) == 5 and first["error"] == "" and second["classes"] == [] and "not a JPEG" in second["error"]
    assert first["classes"][0]["class_name"] in said[0] and refused == [f"no answer: {second['error']}"]


def test_metrics_are_those_of_the_definitions():
    logits = np.random.default_rng(1).normal(size=(60, CLASSES)).astype("float32")
    labels = np.random.default_rng(2).integers(0, CLASSES - 1, 60)  # the last class has no image
    batches = [({"logits": tf.constant(logits[i:i + 25])}, {"label": labels[i:i + 25]}) for i in range(0, 60, 25)]

    class Given:
        def __call__(self, inputs, training):
            return {"label": inputs["logits"]}

    info = Info(class_names=[f"kind {k}" for k in range(CLASSES)])
    metrics = evaluation.evaluate(Given(), batches, resolved(), info, resamples=200)
    right = logits.argmax(axis=1) == labels
    assert metrics["accuracy"] == pytest.approx(right.mean()) and metrics["error"] == pytest.approx(1 - right.mean())
    ranks = (logits > logits[np.arange(60), labels][:, None]).sum(axis=1)
    assert metrics["top5"] == pytest.approx((ranks < 5).mean())
    exact = logits.astype("float64")
    exact = np.log(np.exp(exact).sum(axis=1)) - exact[np.arange(60), labels]
    assert metrics["loss"] == pytest.approx(exact.mean(), rel=1e-5)
    assert set(metrics["per_class"]) == {f"kind {k}" for k in range(CLASSES - 1)}
    assert metrics["per_class"]["kind 2"] == pytest.approx(right[labels == 2].mean())
    assert np.sum(metrics["confusion"]) == 60 and np.trace(metrics["confusion"]) == right.sum()
    low, high = metrics["intervals"]["accuracy"]
    assert low < metrics["accuracy"] < high and high - low == pytest.approx(4 * np.sqrt(right.mean() * (1 - right.mean()) / 60), rel=0.3)
    assert evaluation.evaluate(Given(), batches, resolved(limit_steps=1), info)["accuracy"] == pytest.approx(right[:25].mean())
