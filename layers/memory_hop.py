"""One read of a memory."""
import keras
from keras import ops


@keras.saving.register_keras_serializable(package="layers")
class MemoryHop(keras.layers.Layer):
    """Reads a memory by soft attention.

        score[b, ..., m] = query[b, ..., :] . keys[b, m, ..., :]
        p[m] = mask[m] exp(score[m]) / sum_n mask[n] exp(score[n])
        or, where `linear`,  p[m] = mask[m] score[m]
        output[b, ..., :] = sum_m p[b, ..., m] * values[b, m, ..., :]

    A mask of numbers says how many memories each entry stands for, so that many equal ones are one entry: a memory's empty
    places, say, which let a question read little where nothing fits it.

    The axes in place of the dots, for networks that are trained side by side, are the same in all arguments. An empty
    memory reads nothing: output and p are 0. Keras's Attention takes a sequence of queries and no axes of networks, and
    cannot leave out the softmax.

    Shape:
        query:   (batch, ..., units)
        keys:    (batch, memories, ..., units)
        values:  (batch, memories, ..., units)
        mask:    (batch, memories) which memories there are: bool, or how many each entry stands for
        linear:  (...) bool, or None for nowhere
        returns: output (batch, ..., units) and p (batch, ..., memories)

    Source: Sukhbaatar et al., 2015, "End-To-End Memory Networks", eq. 1 and 2; without softmax: section 4.2, "linear start".
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.built = True  # no weights

    def call(self, query, keys, values, mask, linear=None):
        scores = ops.sum(query[:, None] * keys, axis=-1)  # (batch, memories, ...)
        there = ops.expand_dims(mask, tuple(range(2, len(scores.shape))))
        copies = ops.stop_gradient(ops.cast(there, scores.dtype))
        lowest = -3e4 if scores.dtype == "float16" else -1e30
        highest = ops.max(ops.where(copies > 0, scores, ops.cast(lowest, scores.dtype)), axis=1, keepdims=True)
        weights = copies * ops.exp(ops.minimum(scores - ops.stop_gradient(highest), 0))  # the minimum is for what is not there
        attention = weights / ops.maximum(ops.sum(weights, axis=1, keepdims=True), 0.5)  # 1 or more, unless empty
        if linear is not None:
            attention = ops.where(linear, scores * copies, attention)
        output = ops.sum(attention[..., None] * values, axis=1)
        return output, ops.moveaxis(attention, 1, -1)

    def compute_mask(self, query, mask):
        return None  # the mask is the memory's; what was read has no places to mask

    def compute_output_shape(self, query_shape, keys_shape, values_shape):  # Keras passes on no shape of an argument `mask`
        return (*query_shape[:1], *values_shape[2:]), (*query_shape[:-1], keys_shape[1])

    def get_config(self):
        return super().get_config()


def with_empty_places(mask, places):
    """Returns how many memories each entry stands for where one more entry stands for all places that are left empty.

    Shape:
        mask:    (batch, memories) number, 1 for a memory that is there; `places` at most in a row
        returns: (batch, memories + 1)

    Source: the code of Sukhbaatar et al., 2015, whose memory always has all its places.
    """
    return ops.concatenate([mask, places - ops.sum(mask, axis=1, keepdims=True)], axis=1)
