"""Several reads of a memory, each with the query that the previous read computed."""
import keras
from keras import ops

from layers.memory_hop import MemoryHop


@keras.saving.register_keras_serializable(package="layers")
class MemoryHops(keras.layers.Layer):
    """Reads a memory `hops` times; each read is added to the query of the next.

        o_k, p_k = MemoryHop(u_k, keys_k, values_k)                      k = 1..hops, u_1 = query
        u_(k+1) = f(u_k + o_k)        adjacent tying:    keys_k = memory[k - 1], values_k = memory[k]
        u_(k+1) = f(H u_k + o_k)      layer-wise tying:  keys_k = memory[0],     values_k = memory[1], as in an RNN

    `members` is the number of networks that are trained side by side. With layer-wise tying each has its own matrix H,
    which starts with a standard deviation of 0.1; with adjacent tying the layer has no weights.

    Args:
        hops: number of reads.
        tying: "adjacent" (the values of one hop are the keys of the next) or "layer_wise" (all hops share keys and
            values).
        nonlinear: whether f is the ReLU; otherwise it is the identity.

    Shape:
        query:   (batch, members, units)
        memory:  (batch, memories, tables, members, units); tables = hops + 1 for adjacent tying, 2 for layer-wise
        mask:    (batch, memories) bool or number
        linear:  (members,) bool: the members that read without softmax; None means that all use it
        returns: u after the last hop (batch, members, units), and the attention p (batch, hops, members, memories)

    Mask: which memories exist (bool), or how many equal memories each entry stands for (0, 1, 2, ...). It is required.
        Where a row is fully masked, every o and p is 0: with adjacent tying and no ReLU the query is returned
        unchanged. Keras passes no mask on to the next layer.

    Raises:
        ValueError: `hops` is below 1, `tying` is unknown, or the memory has another number of tables.

    Example:
        >>> import numpy as np
        >>> import layers
        >>> hops = layers.MemoryHops(hops=2)
        >>> query, memory = np.ones((1, 1, 4), "float32"), np.ones((1, 5, 3, 1, 4), "float32")
        >>> output, attention = hops(query, memory, mask=np.array([[True, True, False, False, False]]))
        >>> print(output.numpy())  # 1 from the query and 1 from each hop
        [[[3. 3. 3. 3.]]]
        >>> print(attention.numpy())
        [[[[0.5 0.5 0.  0.  0. ]]
        <BLANKLINE>
          [[0.5 0.5 0.  0.  0. ]]]]

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
        """The number of vectors that the memory must hold for each of its entries."""
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
