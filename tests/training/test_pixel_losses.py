"""Losses over pixels against numpy; pixels without a label count nowhere, and replicas add up."""
import keras
import numpy as np
import pytest
import tensorflow as tf

from training.engine import strategies
from training.vision import pixel_losses

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(4, 5, 6, 3)).astype("float32") * 2
CLASSES = RANDOM.integers(-1, 3, (4, 5, 6))
WEIGHTS = [1.0, 0.5, 3.0]


def probabilities(logits):
    exponents = np.exp(logits.astype("float64"))
    return exponents / exponents.sum(-1, keepdims=True)


def cross_entropy(classes, logits, weights):
    labeled = classes >= 0
    right = np.take_along_axis(probabilities(logits), np.maximum(classes, 0)[..., None], -1)[..., 0]
    weight = np.array(weights)[np.maximum(classes, 0)] * labeled
    return -(weight * np.log(right)).sum() / weight.sum()


def dice(classes, logits):
    labeled = classes >= 0
    found, values = probabilities(logits), []
    for k in range(logits.shape[-1]):
        truth = (classes == k) & labeled
        if truth.any():
            values.append(2 * (found[..., k] * truth).sum() / ((found[..., k] * labeled).sum() + truth.sum()))
    return 1 - np.mean(values)


def test_values_equal_numpy():
    assert float(pixel_losses.PixelCrossEntropy(WEIGHTS)(CLASSES, LOGITS)) == pytest.approx(cross_entropy(CLASSES, LOGITS, WEIGHTS), rel=1e-5)
    assert float(pixel_losses.PixelCrossEntropy()(CLASSES, LOGITS)) == pytest.approx(cross_entropy(CLASSES, LOGITS, [1, 1, 1]), rel=1e-5)
    assert float(pixel_losses.DiceLoss()(CLASSES, LOGITS)) == pytest.approx(dice(CLASSES, LOGITS), rel=1e-5)
    both = cross_entropy(CLASSES, LOGITS, WEIGHTS) + 0.5 * dice(CLASSES, LOGITS)
    assert float(pixel_losses.PixelLoss(WEIGHTS, 0.5)(CLASSES, LOGITS)) == pytest.approx(both, rel=1e-5)


def test_dice_has_only_the_classes_that_occur():
    classes = np.where(CLASSES == 2, 1, CLASSES)
    assert float(pixel_losses.DiceLoss()(classes, LOGITS)) == pytest.approx(dice(classes, LOGITS), rel=1e-5)
    sure = 40 * np.eye(3, dtype="float32")[np.maximum(classes, 0)]
    assert float(pixel_losses.DiceLoss()(classes, sure)) == pytest.approx(0, abs=1e-6)
    assert pixel_losses.DiceLoss()(classes, -sure) > 0.4


@pytest.mark.parametrize("loss", [pixel_losses.PixelCrossEntropy(WEIGHTS), pixel_losses.DiceLoss(), pixel_losses.PixelLoss(WEIGHTS, 1.0)])
def test_void_has_no_gradient_and_a_batch_of_void_no_loss(loss):
    logits = tf.Variable(LOGITS)
    with tf.GradientTape() as tape:
        value = loss(CLASSES, logits)
    gradient = tape.gradient(value, logits).numpy()
    assert not gradient[CLASSES < 0].any() and np.abs(gradient[CLASSES >= 0]).min() >= 0 and np.abs(gradient).max() > 0
    with tf.GradientTape() as tape:
        value = loss(np.full_like(CLASSES, pixel_losses.VOID), logits)
    assert value == 0 and np.isfinite(tape.gradient(value, logits)).all()


@pytest.mark.parametrize("loss", [pixel_losses.PixelCrossEntropy(WEIGHTS), pixel_losses.DiceLoss(), pixel_losses.PixelLoss(WEIGHTS, 1.0)])
def test_two_replicas_have_the_gradient_of_one_device(loss):
    """Their images differ in the numbers of labeled pixels, so a mean of means would be another loss."""
    classes = CLASSES.copy()
    classes[0, 1:] = -1
    classes[1, :4] = -1
    inputs = keras.Input((5, 6, 3))
    strategy = strategies.make("mirrored")

    def step(batches, scope):
        with scope:
            layer = keras.layers.Conv2D(3, 1, kernel_initializer="ones", use_bias=False, dtype="float32")
            model = keras.Model(inputs, layer(inputs))
            model.compile(keras.optimizers.SGD(1.0), loss=loss)
            model.optimizer.build(model.trainable_variables)
        return model, batches

    one, _ = step(None, tf.distribute.get_strategy().scope())
    one._symbolic_build(data_batch=(LOGITS, classes))
    tf.function(one.train_step)((LOGITS, classes))
    two, _ = step(None, strategy.scope())
    two._symbolic_build(data_batch=(LOGITS[:2], classes[:2]))
    halves = strategy.experimental_distribute_values_from_function(
        lambda context: (tf.constant(LOGITS[2 * context.replica_id_in_sync_group:][:2]),
                         tf.constant(classes[2 * context.replica_id_in_sync_group:][:2])))
    tf.function(lambda batch: strategy.run(two.train_step, args=(batch,)))(halves)
    np.testing.assert_allclose(two.get_weights()[0], one.get_weights()[0], rtol=1e-5)
    assert np.abs(one.get_weights()[0] - 1).max() > 1e-3


@pytest.mark.parametrize("loss", [pixel_losses.PixelCrossEntropy(WEIGHTS), pixel_losses.DiceLoss(name="dice"), pixel_losses.PixelLoss(WEIGHTS, 0.3)])
def test_losses_are_serialized(loss):
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.get_config() == loss.get_config() and again(CLASSES, LOGITS) == loss(CLASSES, LOGITS)
