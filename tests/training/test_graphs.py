"""What is made once for a model: made once, not tracked, and no reason for the model to live on."""
import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from training.engine import graphs
from training.vision import classifiers


class Doubled(keras.Model):
    """A subclass with methods of its own, as most systems are."""

    def __init__(self):
        super().__init__()
        self.hidden = keras.layers.Dense(4)
        self.dense = keras.layers.Dense(2)

    def call(self, inputs, training=False):
        return self.twice(self.dense(self.hidden(inputs["image"])))

    def twice(self, x):
        return {"label": 2 * x}


def functional():
    inputs = keras.Input((3,), name="image")
    features = keras.layers.Dense(4, name="features")(inputs)
    return keras.Model({"image": inputs}, {"label": keras.layers.Dense(2)(features)})


def answer(model):
    return graphs.of_model(model, "answer", lambda model: tf.function(lambda inputs: model(inputs, training=False)))


@pytest.mark.parametrize("make", [Doubled, functional])
def test_is_made_once_and_dies_with_the_model(make):
    model, other = make(), make()
    inputs = {"image": np.ones((5, 3), "float32")}
    expected = model(inputs)["label"]
    for _ in range(2):
        np.testing.assert_allclose(answer(model)(inputs)["label"], expected, rtol=1e-6)
    assert answer(model) is answer(model) is not answer(other)
    assert answer(model).experimental_get_tracing_count() == 1
    count, tracked = model.count_params(), len(model.weights)
    network = graphs.of_model(model, "network", lambda model: keras.Sequential([keras.Input((3,)), *model.layers[-2:]]))
    assert network.count_params() == count == model.count_params() and len(model.weights) == tracked
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None


def test_keys_are_apart():
    model = Doubled()
    made = [graphs.of_model(model, key, lambda model: object()) for key in ("a", "b", ("b", True), "b")]
    assert len({id(value) for value in made}) == 3 and made[1] is made[3]


def test_a_classifier_that_answered_is_not_kept_alive():
    model = functional()
    images = tf.ones((5, 3))
    logits, labels = classifiers.answers(model, [({"image": images}, {"label": np.array([0, 1, -1, 0, 1])})])
    assert logits.shape == (4, 2) and labels.tolist() == [0, 1, 0, 1]
    weights = len(model.weights)
    np.testing.assert_allclose(classifiers.features(model, images), model.get_layer("features")(images), rtol=1e-6)
    assert len(model.weights) == weights
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None
