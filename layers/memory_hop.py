"""One read of a memory."""
import keras
from keras import ops


@keras.saving.register_keras_serializable(package="layers")
class MemoryHop(keras.layers.Layer):
    """Reads a memory by soft attention.

        score[b, ..., m] = query[b, ..., :] . keys[b, m, ..., :]
        p[m] = exp(score[m]) / (sum over the memories n that are there of exp(score[n]) + empty)
        or, where `linear`,  p[m] = score[m]
        output[b, ..., :] = sum_m p[b, ..., m] * values[b, m, ..., :]

    With `slots`, as in the authors' code, a memory has that many places, and each one that holds nothing has score 0 and
    value 0: empty = slots - memories that are there (not below 0). A question may so read little where nothing fits it,
    and how much is read tells how well it fits, which questions for yes or no live on. Without, empty = 0.

    The axes in place of the dots, for networks that are trained side by side, are the same in all arguments. An empty
    memory reads nothing: output and p are 0. Keras's Attention takes a sequence of queries and no axes of networks, and
    cannot leave out the softmax.

    Shape:
        query:   (batch, ..., units)
        keys:    (batch, memories, ..., units)
        values:  (batch, memories, ..., units)
        mask:    (batch, memories) bool, which memories there are
        linear:  (...) bool, or None for nowhere
        returns: output (batch, ..., units) and p (batch, ..., memories)

    Raises:
        ValueError: slots below 1.

    Source: Sukhbaatar et al., 2015, "End-To-End Memory Networks", eq. 1 and 2; without softmax: section 4.2, "linear start".
    """

    def __init__(self, slots=None, **kwargs):
        super().__init__(**kwargs)
        if slots is not None and slots < 1:
            raise ValueError(f"slots must be at least 1, got {slots}")
        self.slots = slots
        self.built = True  # no weights

    def call(self, query, keys, values, mask, linear=None):
        scores = ops.sum(query[:, None] * keys, axis=-1)  # (batch, memories, ...)
        there = ops.expand_dims(mask, tuple(range(2, len(scores.shape))))
        present = ops.cast(there, scores.dtype)
        attention = self._softmax(scores, present)
        if linear is not None:
            attention = ops.where(linear, scores * present, attention)
        output = ops.sum(attention[..., None] * values, axis=1)
        return output, ops.moveaxis(attention, 1, -1)

    def _softmax(self, scores, present):
        """Returns p over axis 1, 0 for what is not there."""
        lowest = -3e4 if scores.dtype == "float16" else -1e30
        scores = ops.where(present > 0, scores, ops.cast(lowest, scores.dtype))
        if self.slots is None:
            return ops.softmax(scores, axis=1) * present
        empty = ops.maximum(self.slots - ops.sum(present, axis=1, keepdims=True), 0)
        highest = ops.max(scores, axis=1, keepdims=True)
        highest = ops.stop_gradient(ops.where(empty > 0, ops.maximum(highest, 0), highest))
        weights = ops.exp(scores - highest) * present
        return weights / (ops.sum(weights, axis=1, keepdims=True) + empty * ops.exp(-ops.maximum(highest, 0)))

    def compute_mask(self, query, mask):
        return None  # the mask is the memory's; what was read has no places to mask

    def compute_output_shape(self, query_shape, keys_shape, values_shape):  # Keras passes on no shape of an argument `mask`
        return (*query_shape[:1], *values_shape[2:]), (*query_shape[:-1], keys_shape[1])

    def get_config(self):
        return super().get_config() | {"slots": self.slots}
