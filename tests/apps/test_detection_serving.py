"""The detection signature: raw files in, boxes in their own pixels out, and a bad file stops nobody else's."""
import functools
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from apps.detection import serving
from benchmarks import damage
from tests.apps import small_detector
from training import UserError
from training.app import App
from training.cli import Predict
from training.serving import answers, export
from training.vision import images


def photo(height, width, seed=0, red_at=None):
    """Returns a smooth picture, nowhere red but in one spot, without symmetry."""
    colors = np.random.default_rng(seed).integers(20, 200, (4, 5, 3), np.uint8)
    colors[..., 0] = colors.min(-1) // 2
    image = Image.fromarray(colors).resize((width, height), Image.BICUBIC)
    y, x = red_at or (height // 4, width // 3)
    image.paste((255, 0, 0), (x - 3, y - 3, x + 3, y + 3))
    return image


def encode(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def jpeg(image, **options):
    return encode(image, "JPEG", quality=95, subsampling=0, **options)


def mixed_batch():
    """Returns files of several formats and sizes, two of them bad."""
    return [jpeg(photo(64, 96)), b"no image", encode(photo(33, 17, 1), "PNG"), encode(photo(40, 40, 2), "GIF"),
            jpeg(photo(80, 50, 3))[:900], encode(photo(20, 128, 4), "BMP")]


@pytest.fixture(scope="module")
def model():
    return small_detector.build()


@pytest.fixture(scope="module")
def version(model, tmp_path_factory):
    config = small_detector.CONFIG
    return export.export(tmp_path_factory.mktemp("saved_models") / "detection", model,
                         serving.signatures(model, config, small_detector.INFO), warmup=serving.warmup(config))


_OUTPUTS = {"boxes_yxyx": ("float32", (None, 100, 4)), "scores": ("float32", (None, 100)),
            "class_ids": ("int32", (None, 100)), "class_names": ("string", (None, 100)),
            "count": ("int32", (None,)), "error": ("string", (None,))}


def test_signatures_are_the_tasks(version):
    inputs = {"image_bytes": ("string", (None,))}
    assert export.describe(version) == {
        "serving_default": {"inputs": inputs, "outputs": _OUTPUTS},
        "embed": {"inputs": inputs, "outputs": {"features": ("float32", (None, None)), "error": ("string", (None,))}}}


def by_hand(model, image_bytes):
    """What the signature must answer for good files, one by one, in NumPy after the detector."""
    rows = []
    for one in image_bytes:
        image = images.decode(one)
        fitted, scale = images.fit_square(image, 32)
        found = {name: value.numpy() for name, value in model.detect(fitted[None]).items()}
        height, width = image.shape[:2]
        boxes = np.clip(found["boxes_yxyx"][0, :2] / scale.numpy(), 0, [height, width, height, width])
        rows.append((boxes, found["scores"][0, :2].astype(np.float32), found["class_ids"][0, :2]))
    return rows


def check_mixed_batch(answer, model):
    batch = mixed_batch()
    good, bad = [0, 2, 3, 5], [1, 4]
    assert answer["count"].tolist() == [2, 0, 2, 2, 0, 2]
    assert answer["error"].tolist() == [b"", b"this is not a JPEG, PNG, GIF or BMP image", b"", b"",
                                        b"the JPEG decoder rejects this file: it is damaged or truncated", b""]
    names = np.array([name.encode() for name in small_detector.INFO.class_names], object)
    for row, (boxes, scores, class_ids) in zip(good, by_hand(model, [batch[row] for row in good])):
        np.testing.assert_allclose(answer["boxes_yxyx"][row, :2], boxes, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(answer["scores"][row, :2], scores, rtol=1e-4)
        assert answer["class_ids"][row, :2].tolist() == class_ids.tolist()
        assert answer["class_names"][row, :2].tolist() == names[class_ids].tolist()
    for row in good + bad:
        rest = slice(2 if row in good else 0, None)
        assert not answer["boxes_yxyx"][row, rest].any() and not answer["scores"][row, rest].any()
        assert (answer["class_ids"][row, rest] == -1).all() and (answer["class_names"][row, rest] == b"").all()


def test_mixed_sizes_formats_and_bad_rows(version, model):
    check_mixed_batch(export.answer(version, {"image_bytes": mixed_batch()}), model)


def test_boxes_are_in_pixels_of_the_sent_image(version):
    """The red spot lies where it was painted, whatever the size of the file."""
    places = {(64, 96): (20, 70), (200, 90): (150, 40), (16, 24): (8, 9)}
    answer = export.answer(version, {"image_bytes": [
        encode(photo(*size, red_at=place), "PNG") for size, place in places.items()]})
    for row, (size, place) in enumerate(places.items()):
        box = answer["boxes_yxyx"][row, 0]
        pixel = max(size) / 32  # of the square, in pixels of the file
        centre = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]
        assert np.abs(np.subtract(centre, place)).max() <= 4 + pixel
        assert (box >= 0).all() and (box <= [*size, *size]).all()
        np.testing.assert_allclose(answer["boxes_yxyx"][row, 1], [0, 0, *size], rtol=1e-5)  # the whole square, clipped


def test_orientation_equals_a_turned_image(version):
    exif = Image.Exif()
    turns = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_270, 8: Image.Transpose.ROTATE_90,
             5: Image.Transpose.TRANSPOSE}
    for orientation, turn in turns.items():
        exif[0x0112] = orientation
        lying = jpeg(photo(48, 72), exif=exif.tobytes())
        upright = encode(Image.fromarray(tf.io.decode_jpeg(lying).numpy()).transpose(turn), "PNG")
        answer = export.answer(version, {"image_bytes": [lying, upright, jpeg(photo(48, 72))]})
        for name, value in answer.items():
            np.testing.assert_array_equal(value[0], value[1], err_msg=f"{name} {orientation}")
        assert np.abs(answer["boxes_yxyx"][0] - answer["boxes_yxyx"][2]).max() > 5


def test_damaged_images_are_answered_or_refused_and_change_no_neighbor(version):
    for signature in ("serving_default", "embed"):
        report = damage.check_export(functools.partial(export.answer, version, signature=signature),
                                     damage.hostile_images(100, seed=3), {"image_bytes": mixed_batch()[0]})
        assert not report.failures and min(report.counts["answered"], report.counts["refused"]) > 10


def test_what_is_sent_follows_from_the_seed():
    one, again, other = (list(damage.hostile_images(5, seed)) for seed in (1, 1, 2))
    assert one == again != other


def test_too_many_pixels_is_an_error_of_its_row(version):
    bomb = encode(Image.new("1", (9000, 8000)), "PNG")
    assert len(bomb) < 20000
    answer = export.answer(version, {"image_bytes": [bomb, mixed_batch()[0]]})
    assert answer["error"].tolist() == [b"the image has 9000 x 8000 pixels, more than the limit of 64000000", b""]
    assert answer["count"].tolist() == [0, 2]


def test_empty_batch(version):
    for signature in ("serving_default", "embed"):
        answer = export.answer(version, {"image_bytes": []}, signature)
        assert all(len(value) == 0 for value in answer.values())


def test_embed(version, model):
    batch = mixed_batch()
    answer = export.answer(version, {"image_bytes": batch}, "embed")
    assert answer["features"].shape == (6, 3) and answer["features"].dtype == np.float32
    assert not answer["features"][[1, 4]].any()
    assert [bool(error) for error in answer["error"]] == [False, True, False, False, True, False]
    fitted, _ = images.fit_square(images.decode(batch[2]), 32)
    np.testing.assert_allclose(answer["features"][2], 0.25 * tf.reduce_mean(fitted, (0, 1)), rtol=1e-4)


def test_export_equals_a_function_of_the_model(version, model):
    signatures = serving.signatures(model, small_detector.CONFIG, small_detector.INFO)
    for name, (function, _) in signatures.items():
        expected = tf.function(function)(image_bytes=tf.constant(mixed_batch()))
        answer = export.answer(version, {"image_bytes": mixed_batch()}, name)
        assert set(answer) == set(expected)
        for output, value in expected.items():
            if answer[output].dtype == object:
                np.testing.assert_array_equal(answer[output], value.numpy())
            else:
                np.testing.assert_allclose(answer[output], value.numpy(), rtol=1e-4, atol=1e-6)


# Without anything of ours; and in a session, the nearest that Python has to the server, which is C++ and runs one.
_ELSEWHERE = """
import sys
import numpy as np
import tensorflow as tf
version, batch = sys.argv[1:]
image_bytes = [one.tobytes() for one in np.load(batch, allow_pickle=False).values()]
answer = tf.saved_model.load(version).signatures["serving_default"](image_bytes=tf.constant(image_bytes))
answers = {"load": {name: value.numpy() for name, value in answer.items()}}
with tf.compat.v1.Session(graph=tf.Graph()) as session:
    signature = tf.compat.v1.saved_model.load(session, ["serve"], version).signature_def["serving_default"]
    outputs = {name: info.name for name, info in signature.outputs.items()}
    answers["session"] = session.run(outputs, {signature.inputs["image_bytes"].name: image_bytes})
ours = [name for name in sys.modules if name.partition(".")[0] in ("apps", "layers", "training")]
assert not ours, ours
for way, answer in answers.items():
    np.savez(way, **{name: np.char.decode(value.astype("S"), "utf-8") if value.dtype == object else value
                     for name, value in answer.items()})
"""


def test_answers_where_nothing_of_ours_is(version, model, tmp_path):
    np.savez(tmp_path / "batch.npz", *[np.frombuffer(one, np.uint8) for one in mixed_batch()])
    run = subprocess.run([sys.executable, "-c", _ELSEWHERE, str(version), "batch.npz"], cwd=tmp_path,
                         capture_output=True, text=True,
                         env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"})
    assert run.returncode == 0, run.stderr[-2000:]
    for way in ("load", "session"):
        with np.load(tmp_path / f"{way}.npz", allow_pickle=False) as file:
            answer = {name: np.char.encode(value, "utf-8").astype(object) if value.dtype.kind == "U" else value
                      for name, value in file.items()}
        check_mixed_batch(answer, model)


def test_request(tmp_path):
    content = encode(photo(8, 8), "PNG") + b"\0\0"
    (tmp_path / "a.png").write_bytes(content)
    assert serving.request(str(tmp_path / "a.png")).inputs == {"image_bytes": [content]}
    (tmp_path / "text.jpg").write_bytes(b"no image")
    for path, words in [(tmp_path, "cannot be read: Is a directory"), (tmp_path / "none.jpg", "none.jpg cannot be read: No such file"),
                        (tmp_path / "text.jpg", "text.jpg is not an image")]:
        with pytest.raises(UserError, match=words):
            serving.request(str(path))


@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "PNG"])
def test_kinds_that_the_graph_cannot_decode_are_answered_as_a_png(version, tmp_path, kind):
    (tmp_path / "photo").write_bytes(encode(photo(48, 64), kind, **({"lossless": True} if kind == "WEBP" else {})))
    found = export.answer(version, serving.request(str(tmp_path / "photo")).inputs)
    np.testing.assert_array_equal(found["boxes_yxyx"], export.answer(version, {"image_bytes": [encode(photo(48, 64), "PNG")]})["boxes_yxyx"])
    assert found["error"].tolist() == [b""]


def test_predict(version, tmp_path, monkeypatch, capsys):
    """JSON and a picture for every file, also for two of one name; a bad file gets its sentence and no picture."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "photo.png").write_bytes(encode(photo(64, 96), "PNG"))
    (tmp_path / "other" / "photo.jpg").write_bytes(jpeg(photo(40, 30, 1)))
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    (tmp_path / "cut.jpg").write_bytes(jpeg(photo(80, 50, 3))[:900])
    given = ("photo.png", "other/photo.jpg", "bad.jpg", "cut.jpg")
    with pytest.raises(UserError, match="2 of 4 predictions failed; the first error: bad.jpg is not an image"):
        answers.predict(App("detection"), Predict(inputs=given, export=str(version), output="answers"))
    assert sorted(path.name for path in (tmp_path / "answers").iterdir()) == [
        "bad.json", "cut.json", "photo-2.json", "photo-2.png", "photo.json", "photo.png"]
    found = json.loads((tmp_path / "answers" / "photo.json").read_text(encoding="utf-8"))
    assert found["file"] == "photo.png" and found["error"] == "" and len(found["detections"]) == 2
    np.testing.assert_allclose(found["detections"][1]["box_yxyx"], [0, 0, 64, 96])
    assert found["detections"][0]["class_name"] in small_detector.INFO.class_names
    assert json.loads((tmp_path / "answers" / "cut.json").read_text())["error"].startswith("the JPEG decoder rejects this file")
    drawn = Image.open(tmp_path / "answers" / "photo.png")
    assert drawn.width / drawn.height == pytest.approx(1.5, abs=0.01)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and "no answer: bad.jpg is not an image" in lines[2] and "no answer: the JPEG" in lines[3] and "4 predictions in" in lines[4]
