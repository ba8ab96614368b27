"""One read of a memory whose places have a key to find them by and a value to be read."""
import math

import keras
from keras import ops

from layers.memory_hop import MemoryHop


@keras.saving.register_keras_serializable(package="layers")
class KeyValueHop(keras.layers.Layer):
    """Reads the values of the memories whose keys fit the query, and makes the next hop's query of both.

        p = softmax(query . keys) over the memories that are there,  o = sum_m p[m] * values[m]    (`MemoryHop`)
        returns[b, ..., :] = (query + o)[b, ..., :] . R[..., :, :]

    R starts as the identity, that is as a hop that adds and nothing else, and is one matrix for each network that is
    trained beside others (the axes in place of the dots). An empty memory adds nothing to the query.

    Shape:
        query:   (batch, ..., units)
        keys:    (batch, memories, ..., units)
        values:  (batch, memories, ..., units)
        mask:    (batch, memories) which memories there are: bool, or how many each entry stands for
        returns: the next query (batch, ..., units) and p (batch, ..., memories)

    Source: Miller et al., 2016, "Key-Value Memory Networks for Directly Reading Documents", section 3.1; the paper does not
    say how R starts.
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
