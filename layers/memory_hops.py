"""Several reads of a memory, each with the question that the last one left."""
import keras
from keras import ops

from layers.memory_hop import MemoryHop


@keras.saving.register_keras_serializable(package="layers")
class MemoryHops(keras.layers.Layer):
    """Reads a memory `hops` times; what was read is added to the query.

        o_k, p_k = MemoryHop(u_k, keys_k, values_k)
        u_(k+1) = f(u_k + o_k)        adjacent tying:    keys_k = memory[k - 1], values_k = memory[k]
        u_(k+1) = f(H u_k + o_k)      layer-wise tying:  keys_k = memory[0],     values_k = memory[1], as in an RNN

    f is the identity, or ReLU where `nonlinear`. Networks that are trained side by side are an axis `members`.

    Shape:
        query:   (batch, members, units)
        memory:  (batch, memories, tables, members, units); tables = hops + 1 for adjacent tying, 2 for layer-wise
        mask:    (batch, memories) which memories there are: bool, or how many each entry stands for
        linear:  (members,) bool: whose reads have no softmax; None for nobody's
        returns: u after the last hop (batch, members, units) and p (batch, hops, members, memories)

    Raises:
        ValueError: hops below 1, an unknown tying, or another number of tables.

    Source: Sukhbaatar et al., 2015, "End-To-End Memory Networks", section 2.2; f = ReLU: section 4.4.
    """

    def __init__(self, hops, tying="adjacent", nonlinear=False, **kwargs):
        super().__init__(**kwargs)
        if hops < 1:
            raise ValueError(f"hops must be at least 1, got {hops}")
        if tying not in ("adjacent", "layer_wise"):
            raise ValueError(f"tying is adjacent or layer_wise, got {tying!r}")
        self.hops = hops
        self.tying = tying
        self.nonlinear = nonlinear
        self.hop = MemoryHop(dtype=self.dtype_policy)

    @property
    def tables(self):
        """How many vectors each memory has."""
        return self.hops + 1 if self.tying == "adjacent" else 2

    def build(self, query_shape, memory_shape):  # Keras passes on no shape of an argument `mask`
        if memory_shape[2] != self.tables:
            raise ValueError(f"{self.hops} hops with {self.tying} tying need {self.tables} tables, got {memory_shape[2]}")
        if self.tying == "layer_wise":
            members, units = query_shape[1:]
            self.kernel = self.add_weight(
                name="kernel", shape=(units, members, units), initializer=keras.initializers.RandomNormal(stddev=0.1))

    def call(self, query, memory, mask, linear=None):
        attentions = []
        for hop in range(self.hops):
            first = hop if self.tying == "adjacent" else 0
            read, attention = self.hop(query, memory[:, :, first], memory[:, :, first + 1], mask, linear)
            if self.tying == "layer_wise":
                query = ops.einsum("bmi,imj->bmj", query, self.kernel)
            query = query + read
            if self.nonlinear:
                query = ops.relu(query)
            attentions.append(attention)
        return query, ops.stack(attentions, axis=1)

    def compute_mask(self, query, mask):
        return None  # the mask is the memory's; what was read has no places to mask

    def compute_output_shape(self, query_shape, memory_shape):
        return tuple(query_shape), (query_shape[0], self.hops, query_shape[1], memory_shape[1])

    def get_config(self):
        return super().get_config() | {"hops": self.hops, "tying": self.tying, "nonlinear": self.nonlinear}
