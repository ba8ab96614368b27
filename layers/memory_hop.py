"""One read of a memory."""
import keras
from keras import ops


@keras.saving.register_keras_serializable(package="layers")
class MemoryHop(keras.layers.Layer):
    """Reads a memory by soft attention.

        score[b, ..., m] = query[b, ..., :] . keys[b, m, ..., :]
        p[m] = mask[m] exp(score[m]) / sum_n mask[n] exp(score[n])
        or, where `linear` is true,  p[m] = mask[m] score[m]
        output[b, ..., :] = sum_m p[b, ..., m] * values[b, m, ..., :]

    The dots stand for axes of networks that are trained side by side; they are the same in query, keys and values.
    Keras's Attention takes a sequence of queries, has no axes of networks, and cannot leave out the softmax.

    Shape:
        query:   (batch, ..., units)
        keys:    (batch, memories, ..., units)
        values:  (batch, memories, ..., units)
        mask:    (batch, memories) bool or number
        linear:  (...) bool: the networks that read without softmax; None means that all use it
        returns: output (batch, ..., units), and the attention p (batch, ..., memories)

    Mask: which memories exist (bool), or how many equal memories each entry stands for (0, 1, 2, ...). It is required
        and has no gradient. With numbers, one entry can stand for all empty places of a memory (`with_empty_places`):
        they take attention, so that little is read where nothing matches the query. Where a row is fully masked, output
        and p are 0. Keras passes no mask on to the next layer.

    Example:
        >>> import numpy as np
        >>> import layers
        >>> hop = layers.MemoryHop()
        >>> query = np.array([[1.0, 0.0]], "float32")
        >>> keys = np.zeros((1, 2, 2), "float32")
        >>> values = np.array([[[1.0, 0.0], [3.0, 8.0]]], "float32")
        >>> for mask in ([True, True], [True, False], [False, False], [3, 1]):
        ...     output, attention = hop(query, keys, values, mask=np.array([mask]))
        ...     print(output.numpy(), attention.numpy())
        [[2. 4.]] [[0.5 0.5]]
        [[1. 0.]] [[1. 0.]]
        [[0. 0.]] [[0. 0.]]
        [[1.5 2. ]] [[0.75 0.25]]

    Source: Sukhbaatar et al., 2015, "End-To-End Memory Networks", eq. 1 and 2; without softmax: section 4.2, "linear
    start".
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
    """Returns `mask` with one more entry, which stands for all places of the memory that are left empty.

    places: number of places of each memory, full or empty.

    Shape:
        mask:    (batch, memories) number: 1 for a memory that exists, else 0; at most `places` ones in a row
        returns: (batch, memories + 1): how many memories each entry stands for

    >>> import numpy as np
    >>> from layers import memory_hop
    >>> print(memory_hop.with_empty_places(np.array([[1.0, 1.0, 0.0]]), places=10).numpy())
    [[1. 1. 0. 8.]]

    Source: the code of Sukhbaatar et al., 2015, "End-To-End Memory Networks", whose memory always has all its places.
    """
    return ops.concatenate([mask, places - ops.sum(mask, axis=1, keepdims=True)], axis=1)
