"""One read of a memory whose entries have one vector to be found by and another to be read."""
import math

import keras
from keras import ops

from layers.memory_hop import MemoryHop


@keras.saving.register_keras_serializable(package="layers")
class KeyValueHop(keras.layers.Layer):
    """Reads the values of the memories whose keys match the query, and computes the next hop's query.

        p = softmax(query . keys) over the memories that exist,  o = sum_m p[m] * values[m]    (`MemoryHop`)
        returns[b, ..., :] = (query + o)[b, ..., :] . R[..., :, :]

    R starts as the identity, so that an untrained hop just adds what it reads to the query. The dots stand for axes of
    networks that are trained side by side; they are the same in query, keys and values. Each network has its own R.

    Shape:
        query:   (batch, ..., units)
        keys:    (batch, memories, ..., units)
        values:  (batch, memories, ..., units)
        mask:    (batch, memories) bool or number
        returns: the next query (batch, ..., units), and the attention p (batch, ..., memories)

    Mask: which memories exist (bool), or how many memories each entry stands for (0, 1, 2, ...). It is required. Where
        a row is fully masked, o and p are 0 and the next query is query . R. Keras passes no mask on to the next layer.

    Example:
        >>> import numpy as np
        >>> import layers
        >>> query = np.array([[1.0, 0.0]], "float32")
        >>> keys = np.array([[[9.0, 0.0], [0.0, 9.0]]], "float32")
        >>> values = np.array([[[0.0, 5.0], [7.0, 7.0]]], "float32")
        >>> following, attention = layers.KeyValueHop()(query, keys, values, mask=np.array([[True, True]]))
        >>> print(following.numpy().round(1), attention.numpy().round(1))
        [[1. 5.]] [[1. 0.]]

    Source: Miller et al., 2016, "Key-Value Memory Networks for Directly Reading Documents", section 3.1. The paper does
    not say how R starts.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hop = MemoryHop(dtype=self.dtype_policy)

    def build(self, query_shape, keys_shape=None, values_shape=None):
        units = query_shape[-1]
        self.kernel = self.add_weight(
            name="kernel", shape=(*query_shape[1:], units),
            initializer=lambda shape, dtype: ops.broadcast_to(ops.eye(units, dtype=dtype), shape))

    def call(self, query, keys, values, mask):
        read, attention = self.hop(query, keys, values, mask)
        units = query.shape[-1]
        networks = ops.reshape(query + read, (-1, math.prod(query.shape[1:-1]), units))
        following = ops.einsum("bni,nij->bnj", networks, ops.reshape(self.kernel, (-1, units, units)))
        return ops.reshape(following, (-1, *query.shape[1:])), attention

    def compute_mask(self, query, mask):
        return None  # the mask is the memory's, and the query has no places

    def compute_output_shape(self, query_shape, keys_shape, values_shape):  # Keras passes on no shape of an argument `mask`
        return tuple(query_shape), (*query_shape[:-1], keys_shape[1])

    def get_config(self):
        return super().get_config()
