"""Attention pooling, against plain sums over cells."""
import keras
import numpy as np

import layers
from tests.layers.layer_contract import check_layer


def pooled(layer, features, scores):
    features, scores = features.astype("float64"), scores.astype("float64")[..., 0]
    rows, height, width, channels = features.shape
    found, positions = np.zeros((rows, channels)), np.zeros((rows, 2))
    for row in range(rows):
        total = sum(np.exp(scores[row, y, x]) for y in range(height) for x in range(width))
        for y in range(height):
            for x in range(width):
                share = np.exp(scores[row, y, x]) / total
                found[row] += share * features[row, y, x]
                positions[row] += share * np.array([(y + 0.5) / height, (x + 0.5) / width])
    return found, positions


def test_contract(tmp_path):
    random = np.random.default_rng(0)
    inputs = {"features": random.normal(size=(2, 6, 4, 5)).astype("float32"),
              "scores": random.normal(size=(3, 6, 4, 1))[:2].astype("float32")}
    check_layer(lambda **options: layers.AttentionPooling(**options), inputs, pooled, tmp_path)


def test_a_shifted_map_gives_the_same_features_at_a_shifted_position():
    random = np.random.default_rng(1)
    features, scores = np.zeros((2, 8, 10, 3), "float32"), np.full((2, 8, 10, 1), -1000, "float32")
    thing, attention = random.normal(size=(2, 3, 3)), random.normal(size=(2, 3, 1))
    for row, (top, left) in enumerate([(1, 2), (5, 6)]):
        features[row, top:top + 2, left:left + 3], scores[row, top:top + 2, left:left + 3] = thing, attention
    found, position = layers.AttentionPooling()(features, scores)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
    np.testing.assert_allclose(position[1] - position[0], [4 / 8, 4 / 10], rtol=1e-5)


def test_equal_scores_are_global_average_pooling():
    features = np.random.default_rng(2).normal(size=(2, 3, 5, 4)).astype("float32")
    found, position = layers.AttentionPooling()(features, np.full((2, 3, 5, 1), 7, "float32"))
    np.testing.assert_allclose(found, keras.layers.GlobalAveragePooling2D()(features), rtol=1e-5)
    np.testing.assert_allclose(position, np.full((2, 2), 0.5), rtol=1e-6)
