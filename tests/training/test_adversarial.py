"""Adversarial training: its step is the definition's, in float16 too."""
import keras
import numpy as np

from training.vision.adversarial import AdversarialTraining

RANDOM = np.random.default_rng(0)
KERNEL = RANDOM.normal(size=(16, 3)).astype("float32")
IMAGES = RANDOM.integers(0, 256, (8, 4, 4, 1)).astype("uint8")
LABELS = RANDOM.integers(0, 3, 8).astype("int32")


def classifier(epsilon):
    """Returns softmax regression on pixels from 0 to 1, compiled, with KERNEL as its weights."""
    image = keras.Input((4, 4, 1), dtype="uint8", name="image")
    scale = keras.layers.Rescaling(1 / 255, dtype="float32")
    logits = keras.layers.Dense(3, name="label")(keras.layers.Flatten()(scale(image)))
    model = AdversarialTraining({"image": image}, {"label": logits}, scale, epsilon)
    model.compile(keras.optimizers.SGD(0.3), {"label": keras.losses.SparseCategoricalCrossentropy(from_logits=True)})
    model.optimizer.build(model.trainable_variables)
    model.get_layer("label").set_weights([KERNEL, np.zeros(3, "float32")])
    return model


def step(policy, epsilon=25.5):
    """Returns the weights after one step under a precision, and the loss that it shows."""
    keras.config.set_dtype_policy(policy)
    try:
        model = classifier(epsilon)
        logs = model.train_step(({"image": IMAGES}, {"label": LABELS}))
        return model.get_layer("label").get_weights()[0], float(logs["loss"]), model
    finally:
        keras.config.set_dtype_policy("float32")


def test_a_step_in_float16_is_the_one_in_float32():
    expected, loss, _ = step("float32")
    found, loss16, model = step("mixed_float16")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert np.abs(expected - KERNEL).max() > 0.01
    np.testing.assert_allclose(found - KERNEL, expected - KERNEL, rtol=0.02, atol=2e-4)
    assert abs(loss - loss16) < 0.01


def test_the_moved_pixels_take_part():
    with_them, loss, _ = step("float32")
    without, loss_without, _ = step("float32", epsilon=0.0)
    assert np.abs(with_them - without).max() > 1e-3
    assert loss == loss_without  # the loss that is shown is of the images as they are


def test_no_weight_counts_twice():
    model = classifier(25.5)
    assert [weight.shape for weight in model.weights] == [(16, 3), (3,)]
