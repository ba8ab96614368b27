"""Losses against Keras's own, and where they differ from those on purpose."""
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from training.vision.losses import FocalLoss, SmoothL1


def scene():
    random = np.random.default_rng(0)
    return random.integers(0, 2, (3, 5, 4)).astype("float32"), random.normal(scale=3, size=(3, 5, 4)).astype("float32")


def test_the_focal_loss_is_that_of_keras_for_each_value():
    labels, logits = scene()
    theirs = keras.losses.BinaryFocalCrossentropy(apply_class_balancing=True, alpha=0.3, gamma=1.5, from_logits=True, reduction="none")
    ours = FocalLoss(alpha=0.3, gamma=1.5, reduction="none")(labels, logits)
    assert ours.shape == labels.shape
    np.testing.assert_allclose(np.mean(ours, axis=-1), theirs(labels, logits), rtol=1e-4)
    np.testing.assert_allclose(FocalLoss(alpha=0.3, gamma=1.5)(labels, logits), np.mean(ours), rtol=1e-6)
    half = FocalLoss(alpha=0.5, gamma=0.0)(labels, logits)
    np.testing.assert_allclose(2 * half, np.mean(keras.losses.binary_crossentropy(labels, logits, from_logits=True)), rtol=1e-5)


def test_a_confident_error_keeps_its_gradient():
    logits = tf.constant([[-60.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = FocalLoss()([[1.0]], logits)
    assert tape.gradient(loss, logits).numpy() == pytest.approx(-0.25) and float(loss) == pytest.approx(15)


def test_smooth_l1_is_the_huber_loss_over_its_border():
    wanted, found = scene()
    np.testing.assert_allclose(SmoothL1(beta=0.7)(wanted, found), keras.losses.Huber(0.7)(wanted, found) / 0.7, rtol=1e-5)
    edge = SmoothL1(beta=0.5, reduction="none")([[0.0, 0.0]], [[0.4999, 0.5001]]).numpy()[0]
    assert edge[1] - edge[0] == pytest.approx(0.0002, rel=0.05)


@pytest.mark.parametrize("loss", [FocalLoss(0.4, 3.0, reduction="sum"), SmoothL1(0.2, name="offsets")], ids=lambda loss: loss.name)
def test_losses_come_back_from_their_settings(loss):
    saved = json.loads(json.dumps(keras.losses.serialize(loss)))
    again = keras.losses.deserialize(saved)
    assert type(again) is type(loss) and again.get_config() == loss.get_config()
    assert float(again(*scene())) == float(loss(*scene()))
