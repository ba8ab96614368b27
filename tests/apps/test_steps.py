"""One train step of every system in float16: the gradients that the optimizer applies are those of float32, within tolerance."""
import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.apps.tiny import NOTHING_TO_TRAIN, TINY
from training.app import App

SLOW = {("detection", "faster_rcnn"), ("detection", "keras_cv_retinanet")}
"""systems whose step takes half a minute, in the long contract only"""
SYSTEMS = [pytest.param((app, model), marks=[pytest.mark.every_system] if (app, model) in SLOW else [], id=f"{app}-{model}")
           for app, systems in TINY.items() for model in systems if (app, model) not in NOTHING_TO_TRAIN]
EXACT = dict(dropout=0.0, gradient_noise=0.0, augment=False, noise=0.0, normalization="none")
"""settings, of those that a system has, with which a step draws nothing at random in the precision of its layers, and with which
no statistics over a few places of 16 images multiply the errors of rounding"""
TOLERANCE = {"transfer": 0.1, "segmentation": 0.15, "localization": 0.1, "keras_cv_retinanet": 0.25, "ssd": 0.1}
"""app or model -> allowed difference as a share of the gradient's norm, where batch normalization multiplies the errors of rounding,
or where they change which background boxes have the largest loss; 0.03 for all others. A wrong loss scale is off by thousands."""


def prepared(app, model):
    """Returns (settings, Spec, first batch) of a system."""
    kind = App(app).systems[model]
    exact = {name: value for name, value in EXACT.items() if name in {field.name for field in dataclasses.fields(kind)}}
    config = kind.of(**TINY[app][model] | exact)
    splits = App(app).data.datasets(config)
    return config, splits.spec, next(iter(splits.train(0, 0, tf.distribute.InputContext())))


def applied(app, policy, config, spec, batch):
    """Returns the gradients that reach the optimizer's update in a first step, as one vector."""
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(0)
    made = App(app).build_model(config, spec, steps=100)
    made._symbolic_build(data_batch=tf.nest.map_structure(lambda value: tf.TensorSpec(value.shape, value.dtype), batch))
    inner = getattr(made.optimizer, "inner_optimizer", made.optimizer)
    found = []

    def apply(gradients, trainable_variables=None):
        found.append(np.concatenate([tf.convert_to_tensor(gradient).numpy().ravel() for gradient in gradients
                                     if gradient is not None]))

    inner.apply = apply
    for _ in range(20):  # a loss scale that is too large for the first steps is halved until they are finite
        made.train_step(batch)
        if found:
            return found[0].astype(np.float64)
    raise AssertionError("no step was finite")


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_step_in_float16_is_that_of_float32(system, request):
    request.addfinalizer(lambda: keras.config.set_dtype_policy("float32"))
    data = prepared(*system)
    expected, found = (applied(system[0], policy, *data) for policy in ("float32", "mixed_float16"))
    assert np.linalg.norm(expected) > 0
    allowed = TOLERANCE.get(system[0], TOLERANCE.get(system[1], 0.03))
    assert np.linalg.norm(found - expected) <= allowed * np.linalg.norm(expected)
