"""Calls of an export without TensorFlow's warnings about operations of unknown cost."""
import contextlib

import tensorflow as tf
from tensorflow.core.protobuf import rewriter_config_pb2

try:  # the only place of these options; without it there are more lines on the screen, and the same answers
    from tensorflow.python.eager import context as eager
except ImportError:
    eager = None


@contextlib.contextmanager
def calls():
    """Turns off TensorFlow's memory optimizer while the context lasts.

    It saves memory when many tensors are added, which an export does not need. For CropAndResize on a CPU, it prints a warning
    of a thousand characters that TF_CPP_MIN_LOG_LEVEL does not silence.
    """
    if eager is None:
        yield
        return
    context = eager.context()
    before = context.function_call_options
    config = tf.compat.v1.ConfigProto.FromString(before.config_proto_serialized)
    config.graph_options.rewrite_options.memory_optimization = rewriter_config_pb2.RewriterConfig.NO_MEM_OPT
    context.function_call_options = eager.FunctionCallOptions(before.executor_type, config)
    try:
        yield
    finally:
        context.function_call_options = before
