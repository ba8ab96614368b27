"""`predict --server` and other clients against the stand-in of serving_stand_in.py; the real server cannot run here."""
import base64
import json
import socket
import time
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from apps.detection import serving
from tests.apps import small_detector
from tests.training.serving_stand_in import StandIn
from training import UserError
from training.app import App
from training.cli import Predict
from training.serving import answers, client, export

# no proxy of this machine between us and the loopback interface
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


def export_detector(folder):
    model = small_detector.build()
    return export.export(folder, model, serving.signatures(model, small_detector.CONFIG, small_detector.INFO),
                         warmup=serving.warmup(small_detector.CONFIG))


@pytest.fixture(scope="module")
def saved_models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved_models")
    export_detector(folder / "detection")
    return folder


@pytest.fixture(scope="module")
def server(saved_models):
    with StandIn(saved_models) as stand_in:
        yield stand_in


def image_bytes(seed=0, height=24, width=40):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return tf.io.encode_png(values).numpy()


def rest(server, path, document=None):
    """Returns (HTTP code, document)."""
    request = urllib.request.Request(f"http://{server.rest_address}/v1/models/{path}",
                                     None if document is None else json.dumps(document).encode())
    try:
        with _OPENER.open(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_same_answer_as_the_export(server, saved_models):
    # bytes beyond the end of an image do not matter to a decoder, and must not be lost on the way
    inputs = {"image_bytes": [image_bytes(), b"no image", image_bytes(1, 50, 20) + b"\0\0\0"]}
    for signature in ("serving_default", "embed"):
        found = client.answer(server.address, "detection", inputs, signature)
        expected = export.answer(export.newest(saved_models / "detection"), inputs, signature)
        assert set(found) == set(expected)
        for name, value in expected.items():
            assert found[name].dtype == value.dtype
            np.testing.assert_array_equal(found[name], value)


def test_warmed_up_before_it_answers(server):
    assert server.warmed[:2] == [("detection", 1, "serving_default"), ("detection", 1, "embed")]


def test_refusals_are_sentences(server):
    inputs = {"image_bytes": [image_bytes()]}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{free.getsockname()[1]}"
    for address, model, arguments, words in [
            (nobody, "detection", {}, f"no server responds at {nobody}"),
            ("localhost", "detection", {}, "not of the form HOST:PORT"),
            ("http://localhost:8500", "detection", {}, "not of the form HOST:PORT"),
            (server.address, "segmentation", {}, "does not serve segmentation"),
            (server.address, "detection", {"signature": "explain"}, 'refused the request: .* key "explain" not found'),
            (server.address, "detection", {"timeout": 1e-4}, "did not respond within")]:
        with pytest.raises(UserError, match=words):
            client.answer(address, model, inputs, **arguments)
    with pytest.raises(UserError, match="refused the request: input keys"):
        client.answer(server.address, "detection", {"text": [b"hello"]})


def test_a_port_that_is_no_grpc(server):
    with pytest.raises(UserError):
        client.answer(server.rest_address, "detection", {"image_bytes": [image_bytes()]}, timeout=5)


def test_messages_larger_than_grpcs_four_megabytes(server):
    large = image_bytes(0, 1500, 1500)
    assert len(large) > 6e6
    answer = client.answer(server.address, "detection", {"image_bytes": [large] * 2})
    assert answer["count"].tolist() == [2, 2]
    with pytest.raises(UserError, match="more than the 64 MB that fit into one message"):
        client.answer(server.address, "detection", {"image_bytes": [bytes(65 * 2**20)]})


def test_predict_sends_some_files_at_a_time(server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(image_bytes(number))
    monkeypatch.setattr(answers, "_BATCH_BYTES", 3 * (tmp_path / "0.png").stat().st_size)
    sizes = []
    real = client.answer
    monkeypatch.setattr(client, "answer", lambda server, model, inputs, **given: sizes.append(len(inputs["image_bytes"])) or real(
        server, model, inputs, **given))
    answers.predict(App("detection"), Predict(inputs=("*.png",), server=server.address, output="out"))
    assert sum(sizes) == 6 and max(sizes) <= 3 and len(list(tmp_path.glob("out/*.json"))) == 6
    assert "6 predictions in out" in capsys.readouterr().out


def test_rest_rows_and_columns(server):
    files = [image_bytes(), b"no image"]
    encoded = [{"b64": base64.b64encode(one).decode()} for one in files]
    expected = client.answer(server.address, "detection", {"image_bytes": files})
    code, rows = rest(server, "detection:predict", {"instances": [{"image_bytes": one} for one in encoded]})
    assert code == 200 and rows == rest(server, "detection:predict", {"instances": encoded})[1]
    assert [row["count"] for row in rows["predictions"]] == [2, 0]
    assert [row["error"] for row in rows["predictions"]] == [error.decode() for error in expected["error"]]
    np.testing.assert_allclose([row["boxes_yxyx"] for row in rows["predictions"]], expected["boxes_yxyx"], rtol=1e-6)
    code, columns = rest(server, "detection:predict", {"inputs": {"image_bytes": encoded}})
    assert code == 200 and set(columns["outputs"]) == set(expected)
    assert columns["outputs"]["class_names"][0][:2] == [name.decode() for name in expected["class_names"][0, :2]]
    code, embedded = rest(server, "detection:predict", {"signature_name": "embed", "instances": encoded})
    assert code == 200 and np.shape([row["features"] for row in embedded["predictions"]]) == (2, 3)


def test_rest_refusals(server):
    for path, document, code in [("nothing:predict", {"instances": [1]}, 404), ("detection:predict", {}, 400),
                                 ("detection:predict", {"inputs": {"wrong": [1]}}, 400), ("nothing", None, 404)]:
        found, answer = rest(server, path, document)
        assert found == code and answer["error"]


def test_metadata_and_status(server, saved_models):
    with grpc.insecure_channel(server.address) as channel:
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = "detection"
        metadata = prediction_service_pb2_grpc.PredictionServiceStub(channel).GetModelMetadata(request, timeout=60)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        assert metadata.metadata["signature_def"].Unpack(signatures)
        described = export.describe(export.newest(saved_models / "detection"))
        for name, signature in described.items():
            assert set(signatures.signature_def[name].inputs) == set(signature["inputs"]) == {"image_bytes"}
            assert set(signatures.signature_def[name].outputs) == set(signature["outputs"])
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "detection"
        status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=60)
        assert [(s.version, s.state) for s in status.model_version_status] == [
            (1, get_model_status_pb2.ModelVersionStatus.AVAILABLE)]
    code, document = rest(server, "detection")
    assert code == 200 and document["model_version_status"][0]["version"] == "1"
    assert document["model_version_status"][0]["state"] == "AVAILABLE"




def export_multiplier(folder, factor):
    """Exports numbers -> numbers * factor: small, so that many versions are quickly made."""
    import keras

    class Multiplier(keras.Model):
        def build(self, input_shape=None):
            self.factor = self.add_weight(name="factor", shape=(), initializer=keras.initializers.Constant(factor))
            self.built = True

    model = Multiplier()
    model.build()
    inputs = {"x": tf.TensorSpec((None,), tf.float32)}
    return export.export(folder, model, {"serving_default": (lambda x: {"y": x * model.factor}, inputs)},
                         warmup={"serving_default": {"x": [1.0]}})


def test_a_new_version_takes_over_and_half_a_one_is_never_seen(tmp_path):
    folder = tmp_path / "multiplier"
    export_multiplier(folder, 1.0)
    (folder / ".partial-somewhere-1").mkdir()
    (folder / "latest").mkdir()
    with StandIn(tmp_path) as server:
        def ask():
            return client.answer(server.address, "multiplier", {"x": [1.0]})["y"].tolist()

        assert ask() == [1.0]
        for factor in (2.0, 3.0):
            assert int(export_multiplier(folder, factor).name) == factor
            answers, deadline = set(), time.monotonic() + 30
            while ask() != [factor]:
                answers.add(ask()[0])
                assert time.monotonic() < deadline
                time.sleep(0.02)
            assert answers <= {factor - 1, factor}  # the version before, and never an error
        assert [version for _, version, _ in server.warmed] == [1, 2, 3]
        # a version that cannot be loaded does not stop the one that is
        (folder / "4").mkdir()
        deadline = time.monotonic() + 30
        while not server.models["multiplier"].failed:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert ask() == [3.0]
