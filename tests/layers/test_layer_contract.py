"""The contract notices what it is there for: one sound layer, and the same layer broken in one way at a time."""
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from tests.layers.layer_contract import check_layer


def register(cls):
    return keras.saving.register_keras_serializable(package="layers")(cls)


@register
class Sound(keras.layers.Layer):
    """y[b] = offset + sum_t mask[b, t] * (x[b, t] . kernel) / max(1, sum_t mask[b, t])"""

    def __init__(self, units, offset=0.0, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.offset = offset
        self.supports_masking = True

    def build(self, inputs_shape):
        self.kernel = self.add_weight(name="kernel", shape=(inputs_shape[-1], self.units))
        self.seen = self.add_weight(name="seen", shape=(), initializer="zeros", trainable=False)

    def call(self, inputs, mask=None, training=False):
        if training:
            self.seen.assign(self.seen + 1)
        kept = ops.cast(mask, inputs.dtype)
        total = ops.sum(ops.matmul(inputs, self.kernel) * kept[..., None], axis=1)
        return total / ops.maximum(ops.sum(kept, axis=1, keepdims=True), 1) + self.offset

    def compute_mask(self, inputs, mask=None):
        return None  # there are no places any more

    def compute_output_shape(self, inputs_shape):
        return (inputs_shape[0], self.units)

    def get_config(self):
        return super().get_config() | {"units": self.units, "offset": self.offset}


def reference(layer, inputs, mask):
    kernel = layer.kernel.value.numpy()
    return np.stack([
        layer.offset + np.einsum("tf,fu->u", row[kept], kernel) / max(1, kept.sum()) for row, kept in zip(inputs, mask)])


def own_value(layer, inputs, mask):
    """No reference at all: leaves it to the other promises to notice."""
    return layer(inputs, mask)


def check(cls, folder, reference=reference, **options):
    mask = np.array([[1, 1, 0, 1, 0], [1, 0, 0, 0, 0]], bool)
    inputs = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    return check_layer(lambda **settings: cls(7, offset=2.0, **settings), {"inputs": inputs, "mask": mask}, reference,
                       folder, **{"masks": {"mask": "inputs"}} | options)


@pytest.mark.parametrize("training", [False, True])
def test_a_sound_layer_passes(training, tmp_path):
    assert check(Sound, tmp_path, training=training).shape == (2, 7)


class WrongValue(Sound):
    def call(self, inputs, mask=None, training=False):
        return super().call(inputs, mask) * 1.001


class NotFinite(Sound):
    def call(self, inputs, mask=None, training=False):
        return super().call(inputs, mask) * np.nan


class WrongShape(Sound):
    def compute_output_shape(self, inputs_shape):
        return (inputs_shape[0], self.units + 1)


class FixedBatch(Sound):
    def compute_output_shape(self, inputs_shape):
        return (2, self.units)


class WrongSymbol(Sound):
    def compute_output_spec(self, inputs, mask=None, training=False):
        return keras.KerasTensor((None, self.units), "int32")


class ForgetsKeras(Sound):
    def get_config(self):
        return {"units": self.units, "offset": self.offset}


class ForgetsArgument(Sound):
    def get_config(self):
        return keras.layers.Layer.get_config(self) | {"units": self.units}


class ForgetsValue(Sound):
    def get_config(self):
        return super().get_config() | {"offset": 0.0}


class KeepsObject(Sound):
    def get_config(self):
        return super().get_config() | {"offset": np.float32(self.offset)}


class MixesRows(Sound):
    def call(self, inputs, mask=None, training=False):
        result = super().call(inputs, mask)
        return result + 0.01 * (ops.mean(result, axis=0) - result[:1]) * ops.cast(ops.shape(result)[0] > 1, result.dtype)


class EmptyRow(Sound):
    def call(self, inputs, mask=None, training=False):
        sides = ops.sum(ops.abs(inputs), axis=(1, 2))[:, None]
        return super().call(inputs, mask) * sides / sides


class LeaksMasked(Sound):
    def call(self, inputs, mask=None, training=False):
        return super().call(inputs, mask) + 1e-4 * inputs[:, -1, :1]


class DividesByEmptyMask(Sound):
    def call(self, inputs, mask=None, training=False):
        kept = ops.sum(ops.cast(mask, inputs.dtype), axis=1, keepdims=True)
        return super().call(inputs, mask) * kept / kept


class Upcasts(Sound):
    def call(self, inputs, mask=None, training=False):
        return ops.cast(super().call(inputs, mask), "float32")


class LowWeights(Sound):
    def add_weight(self, **settings):
        return super().add_weight(**settings | {"dtype": self.compute_dtype})


class NoGradient(Sound):
    def call(self, inputs, mask=None, training=False):
        return super().call(ops.stop_gradient(inputs), mask)


class NoWeightGradient(Sound):
    def call(self, inputs, mask=None, training=False):
        return ops.stop_gradient(super().call(inputs, mask)) + 0 * inputs[:, 0, :1]


class GradientOfEmpty(Sound):
    def call(self, inputs, mask=None, training=False):
        squares = (inputs * ops.cast(mask, inputs.dtype)[..., None]) ** 2
        return super().call(inputs, mask) + 1e-3 * ops.sqrt(ops.sum(squares, axis=(1, 2)))[:, None]


class Float32Only(Sound):
    def call(self, inputs, mask=None, training=False):
        result = super().call(inputs, mask)
        return ops.cast(ops.cast(result, "float32"), result.dtype) * (1 + 1e-3 * (self.compute_dtype == "float64"))


class WrongGradient(Sound):
    def call(self, inputs, mask=None, training=False):
        @tf.custom_gradient
        def identity(x):
            return tf.identity(x), lambda upstream: 1.01 * upstream
        return identity(super().call(inputs, mask))


class EagerOnly(Sound):
    def call(self, inputs, mask=None, training=False):
        return super().call(inputs, mask) + (0 if bool(np.asarray(mask).any()) else 1)


class BatchInPython(Sound):
    def call(self, inputs, mask=None, training=False):
        return ops.stack([super(BatchInPython, self).call(inputs[i:i + 1], mask[i:i + 1])[0]
                          for i in range(inputs.shape[0])])


class LosesShape(Sound):
    def call(self, inputs, mask=None, training=False):
        result = super().call(inputs, mask)
        return result[:, :tf.reduce_max(tf.shape(result)[1:])]


class NotCompiled(Sound):
    def call(self, inputs, mask=None, training=False):
        result = super().call(inputs, mask)
        return tf.ensure_shape(tf.numpy_function(lambda x: x, [result], result.dtype), result.shape) \
            if not tf.executing_eagerly() else result


class RemembersElsewhere(Sound):
    def call(self, inputs, mask=None, training=False):
        if tf.executing_eagerly():
            self.seen.assign(self.seen + 1)
        return super().call(inputs, mask)


class ForgetsWeights(Sound):
    def save_own_variables(self, store):
        store["0"] = np.zeros(self.kernel.shape)
        store["1"] = np.zeros(())


BROKEN = {
    "value": [WrongValue, NotFinite],
    "shapes": [WrongShape, FixedBatch, WrongSymbol],
    "config": [ForgetsKeras, ForgetsArgument, KeepsObject],
    "rows": [MixesRows, EmptyRow],
    "masks": [LeaksMasked, DividesByEmptyMask],
    "precision": [Upcasts, LowWeights],
    "gradients": [NoGradient, NoWeightGradient, GradientOfEmpty],
    "float64": [Float32Only, WrongGradient],
    "graph": [EagerOnly, BatchInPython, LosesShape, RemembersElsewhere],
    "XLA": [NotCompiled],
    "saving": [ForgetsValue, ForgetsWeights],
}


@pytest.mark.parametrize("promise, cls", [(promise, cls) for promise, classes in BROKEN.items() for cls in classes])
def test_a_broken_layer_is_caught(promise, cls, tmp_path):
    with pytest.raises(AssertionError, match=f"^{promise}: "):
        check(register(cls), tmp_path, reference if promise == "value" else own_value)


@pytest.mark.parametrize("promise, untrue", [
    ("rows", {"rows_depend_on_batch": True}), ("gradients", {"constant": ("inputs",)}), ("gradients", {"discrete": True}),
    ("precision", {"always_float32": True})], ids=str)
def test_an_untrue_exception_is_caught(promise, untrue, tmp_path):
    with pytest.raises(AssertionError, match=f"^{promise}: "):
        check(Sound, tmp_path, **untrue)


@pytest.mark.parametrize("shape", [(2, 5, 5), (1, 5, 3)], ids=str)
def test_inputs_that_hide_mistakes_are_refused(shape, tmp_path):
    with pytest.raises(AssertionError, match="^inputs: "):
        check_layer(lambda **settings: Sound(7, **settings),
                    {"inputs": np.ones(shape, "float32"), "mask": np.ones(shape[:2], bool)}, reference, tmp_path)
