"""Calls of an export without TensorFlow's lines about operations whose cost it cannot tell."""
import contextlib

import tensorflow as tf
from tensorflow.core.protobuf import rewriter_config_pb2

try:  # the only place of these options; without it there are more lines on the screen, and the same answers
    from tensorflow.python.eager import context as eager
except ImportError:
    eager = None


@contextlib.contextmanager
def calls():
    """Calls functions without TensorFlow's memory optimizer, as long as the context lasts.

    It saves memory where many tensors are added, which an export has no need of, and for CropAndResize on a processor it prints
    a warning of a thousand characters that TF_CPP_MIN_LOG_LEVEL does not silence.
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
