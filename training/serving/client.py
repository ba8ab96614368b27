"""A gRPC client of TensorFlow Serving with the same interface as a local export."""
import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from training.config import UserError
from training.serving import requests
from training.serving.export import tensor_proto

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
MAX_INPUT_BYTES = MAX_MESSAGE_BYTES - 2**20
"""size limit of one row, so that it fits into a message"""


def answer(server, model_name, inputs, signature="serving_default", timeout=60.0):
    """Returns the outputs of the newest version of a served model.

    Arguments:
        server: "HOST:PORT" of the gRPC port (8500 in the containers of `deploy`); the connection is not encrypted.
        inputs: {input name: array or list}; strings as a list of bytes.
        timeout: seconds, for connection and response together.

    Returns: {output name: numpy array}

    Raises:
        UserError: there is no server, model or signature, the inputs are rejected, or the response takes too long.
    """
    requests.check_address(server)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tensor_proto(value))
    if request.ByteSize() > MAX_MESSAGE_BYTES:
        raise UserError(f"the request has {request.ByteSize() / 2**20:.0f} MB, more than the "
                        f"{MAX_MESSAGE_BYTES // 2**20} MB that fit into one message: send fewer files at once")
    options = [("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
               ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
    with grpc.insecure_channel(server, options=options) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            response = stub.Predict(request, timeout=timeout)
        except grpc.RpcError as error:
            raise UserError(_sentence(error, server, model_name, timeout)) from None
    return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}


def _sentence(error, server, model_name, timeout):
    details = " ".join((error.details() or "").split())[:300]
    if error.code() == grpc.StatusCode.UNAVAILABLE:
        return f"no server responds at {server}: start one as described in deploy/README.md, or check host and port ({details})"
    if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"the server at {server} did not respond within {timeout:g} s: increase --timeout-seconds"
    if error.code() == grpc.StatusCode.NOT_FOUND:
        return f"the server at {server} does not serve {model_name}: {details}"
    if error.code() == grpc.StatusCode.UNIMPLEMENTED:
        return f"{server} is not the gRPC port of TensorFlow Serving (in the container, 8500 is gRPC and 8501 is REST)"
    return f"the server at {server} refused the request: {details or error.code().name}"
