"""A stand-in for TensorFlow Serving, for tests only. It is not the server and shares no code with it.

It speaks the server's protocols (gRPC through the stubs of tensorflow-serving-api, and the REST paths for predicting
and for the status), reads models.config as the server does, and keeps the server's promises about versions: the newest
numeric one is loaded, its warm-up file is replayed before it answers anybody, the one before it answers until then.
It runs the graph in this process's TensorFlow, so what it cannot show is the server's own loader, its batching, its
time limits and its monitoring.
"""
import base64
import concurrent.futures
import http.server
import json
import pathlib
import threading

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format, text_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

_POLL_SECONDS = 0.05


class StandIn:
    """Serves the models of a folder's models.config on free ports of the loopback interface; a context manager.

    Attributes:
        address: "127.0.0.1:PORT" of gRPC
        rest_address: "127.0.0.1:PORT" of REST
        warmed: (model, version, signature) in the order in which warm-up requests were replayed
    """

    def __init__(self, saved_models):
        self.models, self.warmed = {}, []
        config = model_server_config_pb2.ModelServerConfig()
        text_format.Parse((pathlib.Path(saved_models) / "models.config").read_text(), config)
        for model in config.model_config_list.config:
            # in the container the folder is mounted at /models
            assert model.base_path.startswith("/models/") and model.model_platform == "tensorflow"
            folder = pathlib.Path(saved_models) / model.base_path.removeprefix("/models/")
            self.models[model.name] = _Model(model.name, folder, self.warmed)

    def __enter__(self):
        for model in self.models.values():
            model.poll()
        self._grpc = grpc.server(concurrent.futures.ThreadPoolExecutor(4), options=[
            ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)])
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Predictions(self.models), self._grpc)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Models(self.models), self._grpc)
        self.address = f"127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"
        self._grpc.start()
        self._rest = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _rest_handler(self.models))
        self.rest_address = "127.0.0.1:{}".format(self._rest.server_address[1])
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._rest.serve_forever, daemon=True),
                         threading.Thread(target=self._watch, daemon=True)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        self._rest.shutdown()
        self._rest.server_close()
        self._grpc.stop(None).wait()
        for thread in self._threads:
            thread.join()

    def _watch(self):
        while not self._stopped.wait(_POLL_SECONDS):
            for model in self.models.values():
                model.poll()


class _Refusal(Exception):
    def __init__(self, code, sentence):
        super().__init__(sentence)
        self.code = code


class _Model:
    def __init__(self, name, folder, warmed):
        self.name, self.folder, self.warmed = name, folder, warmed
        self.version, self.loaded, self.failed = None, None, {}

    def poll(self):
        """Loads the newest number in the folder if it is not the one that is served."""
        numbers = [int(path.name) for path in self.folder.iterdir() if path.name.isdigit()]
        number = max(numbers, default=None)
        if number in (None, self.version) or number in self.failed:
            return
        try:
            loaded = tf.saved_model.load(str(self.folder / str(number)))
            self._replay(loaded, number)
        except Exception as error:  # the version before goes on
            self.failed[number] = str(error)
            return
        self.version, self.loaded = number, loaded

    def _replay(self, loaded, number):
        path = self.folder / str(number) / "assets.extra" / "tf_serving_warmup_requests"
        for record in tf.data.TFRecordDataset(str(path)):
            log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
            request = log.predict_log.request
            inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            _run(loaded, request.model_spec.signature_name, inputs)
            self.warmed.append((self.name, number, request.model_spec.signature_name))

    def answer(self, signature, inputs, version=None):
        """Returns (version, {output name: numpy array})."""
        current, loaded = self.version, self.loaded
        if loaded is None or version not in (None, current):
            raise _Refusal(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {self.name}")
        return current, _run(loaded, signature or "serving_default", inputs)


def _run(loaded, signature, inputs):
    if signature not in loaded.signatures:
        raise _Refusal(grpc.StatusCode.INVALID_ARGUMENT, f'Serving signature key "{signature}" not found.')
    function = loaded.signatures[signature]
    specs = function.structured_input_signature[1]
    if set(inputs) != set(specs):
        raise _Refusal(grpc.StatusCode.INVALID_ARGUMENT, f"input keys {sorted(inputs)} are not {sorted(specs)}")
    try:
        tensors = {name: tf.constant(value, specs[name].dtype) for name, value in inputs.items()}
    except (TypeError, ValueError, tf.errors.OpError) as error:
        raise _Refusal(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None
    return {name: value.numpy() for name, value in function(**tensors).items()}


def _model(models, name):
    if name not in models:
        raise _Refusal(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({name})")
    return models[name]


class _Predictions(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, models):
        self.models = models

    def Predict(self, request, context):
        try:
            spec = request.model_spec
            inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            version, outputs = _model(self.models, spec.name).answer(
                spec.signature_name, inputs, spec.version.value if spec.HasField("version") else None)
        except _Refusal as refusal:
            context.abort(refusal.code, str(refusal))
        response = predict_pb2.PredictResponse()
        response.model_spec.name = spec.name
        response.model_spec.signature_name = spec.signature_name or "serving_default"
        response.model_spec.version.value = version
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response

    def GetModelMetadata(self, request, context):
        try:
            model = _model(self.models, request.model_spec.name)
        except _Refusal as refusal:
            context.abort(refusal.code, str(refusal))
        if list(request.metadata_field) != ["signature_def"]:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Metadata field must be signature_def")
        saved = saved_model_pb2.SavedModel.FromString(
            (model.folder / str(model.version) / "saved_model.pb").read_bytes())
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in saved.meta_graphs[0].signature_def.items():
            signatures.signature_def[name].CopyFrom(signature)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = model.name
        response.model_spec.version.value = model.version
        response.metadata["signature_def"].Pack(signatures)
        return response


class _Models(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, models):
        self.models = models

    def GetModelStatus(self, request, context):
        try:
            return _status(_model(self.models, request.model_spec.name))
        except _Refusal as refusal:
            context.abort(refusal.code, str(refusal))


def _status(model):
    response = get_model_status_pb2.GetModelStatusResponse()
    if model.version is not None:
        status = response.model_version_status.add(version=model.version)
        status.state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    for version, sentence in model.failed.items():
        status = response.model_version_status.add(version=version)
        status.state = get_model_status_pb2.ModelVersionStatus.END
        status.status.error_message = sentence
    return response


def _rest_handler(models):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self._reply(lambda name: json_format.MessageToDict(_status(_model(models, name)),
                                                               preserving_proto_field_name=True))

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))

            def predict(path):
                name, _, verb = path.partition(":")
                if verb != "predict":
                    raise _Refusal(grpc.StatusCode.NOT_FOUND, f"no such path: {self.path}")
                return _rest_predict(_model(models, name), body)

            self._reply(predict)

        def _reply(self, answer):
            code = 200
            try:
                if not self.path.startswith("/v1/models/"):
                    raise _Refusal(grpc.StatusCode.NOT_FOUND, f"no such path: {self.path}")
                document = answer(self.path.removeprefix("/v1/models/"))
            except _Refusal as refusal:
                code = 404 if refusal.code == grpc.StatusCode.NOT_FOUND else 400
                document = {"error": str(refusal)}
            content = json.dumps(document).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    return Handler


def _rest_predict(model, body):
    """Rows: {"instances": [row, …]} -> {"predictions": [row, …]}; columns: {"inputs": …} -> {"outputs": …}."""
    signature = body.get("signature_name")
    if ("instances" in body) == ("inputs" in body):
        raise _Refusal(grpc.StatusCode.INVALID_ARGUMENT, 'give either "instances" or "inputs"')
    rows = body.get("instances")
    if rows is not None:
        is_named = isinstance(rows[0], dict) and list(rows[0]) != ["b64"]
        columns = {name: [row[name] for row in rows] for name in rows[0]} if is_named else rows
    else:
        columns = body["inputs"]
    if not isinstance(columns, dict):  # one unnamed input
        specs = model.loaded.signatures[signature or "serving_default"].structured_input_signature[1]
        columns = {next(iter(specs)): columns}
    _, outputs = model.answer(signature, {name: _from_json(value) for name, value in columns.items()})
    outputs = {name: _to_json(value) for name, value in outputs.items()}
    only = next(iter(outputs.values())) if len(outputs) == 1 else None
    if rows is None:
        return {"outputs": outputs if only is None else only}
    return {"predictions": [dict(zip(outputs, row)) for row in zip(*outputs.values())] if only is None else only}


def _from_json(value):
    if isinstance(value, dict) and list(value) == ["b64"]:
        return base64.b64decode(value["b64"])
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, list):
        parts = [_from_json(part) for part in value]
        return np.array(parts, object) if parts and isinstance(parts[0], bytes) else parts
    return value


def _to_json(value):
    if isinstance(value, np.ndarray):
        return [_to_json(part) for part in value] if value.ndim else _to_json(value.item())
    return value.decode() if isinstance(value, bytes) else value.item() if isinstance(value, np.generic) else value
