"""Which types of entities a candidate response shares with the dialog."""
import keras
import numpy as np
import tensorflow as tf
from keras import ops


@keras.saving.register_keras_serializable(package="layers")
class MatchType(keras.layers.Layer):
    """Marks, for each candidate response and entity type, whether the candidate names an entity that the dialog names.

        out[b, c, t] = 1 if some entity e has types[e - 1] = t, e in candidates[c] and e in entities[b], else 0

    With these features a network can prefer responses that repeat what the dialog is about, even if it never saw the
    entity in training.

    Args:
        types: for each entity 1, 2, ... of the knowledge base, its type 0, 1, ...
        candidates: for each candidate response, the entities that it names, any number of them.

    Shape:
        entities: (batch, words) int32: the entities that a dialog names, in any order; 0 means none
        returns:  (batch, candidates, types) of 0 and 1; no gradient

    Raises:
        ValueError: there is no entity or no candidate, a type is negative, or a candidate names an unknown entity.

    Example:
        >>> import numpy as np
        >>> import layers
        >>> match = layers.MatchType(types=[0, 0, 1], candidates=[[1], [2, 3], []])  # entities: two cities and a price
        >>> print(match(np.array([[1, 3, 0]])).numpy())
        [[[1. 0.]
          [0. 1.]
          [0. 0.]]]

    Source: Bordes, Boureau and Weston, 2017, "Learning End-to-End Goal-Oriented Dialog", section 4.3, "match
    type features".
    """

    def __init__(self, types, candidates, **kwargs):
        super().__init__(**kwargs)
        self.types = [int(kind) for kind in types]
        self.candidates = [[int(entity) for entity in named] for named in candidates]
        named = [entity for candidate in self.candidates for entity in candidate]
        if not self.types or not self.candidates or min(self.types) < 0:
            raise ValueError("match types need at least one entity, whose type is 0 or more, and one candidate")
        if any(not 1 <= entity <= len(self.types) for entity in named):
            raise ValueError(f"candidates name entities 1 to {len(self.types)}, got {min(named)} to {max(named)}")
        self._named = self._by_type()
        self.built = True  # no weights

    def _by_type(self):
        """Returns the entities by candidate and type as (candidates, types, most of one type) int32; 0 means none."""
        found = [[[] for _ in range(max(self.types) + 1)] for _ in self.candidates]
        for row, candidate in zip(found, self.candidates):
            for entity in candidate:
                row[self.types[entity - 1]].append(entity)
        most = max(1, *(len(cell) for row in found for cell in row))
        return np.array([[cell + [0] * (most - len(cell)) for cell in row] for row in found], np.int32)

    def call(self, entities):
        batch, words = ops.shape(entities)[0], entities.shape[1] or ops.shape(entities)[1]
        row = tf.repeat(tf.range(batch), words)
        where = tf.stack([tf.cast(tf.reshape(entities, [-1]), tf.int32), row], axis=1)
        # entities first: what is gathered below are then whole rows of the batch
        counts = tf.scatter_nd(where, tf.ones_like(row), [len(self.types) + 1, batch])
        present = tf.cast((counts > 0) & (tf.range(len(self.types) + 1) > 0)[:, None], self.compute_dtype)
        matches = ops.max(ops.take(present, self._named, axis=0), axis=2)  # (candidates, types, batch)
        return ops.transpose(matches, (2, 0, 1))

    def compute_output_shape(self, entities_shape):
        return (entities_shape[0], *self._named.shape[:2])

    def get_config(self):
        return super().get_config() | {"types": self.types, "candidates": self.candidates}
