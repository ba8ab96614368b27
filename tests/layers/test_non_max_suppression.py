"""Greedy non-maximum suppression, against a plain loop."""
import numpy as np
import pytest
import tensorflow as tf

import layers
from tests.layers import plain_boxes
from tests.layers.layer_contract import check_layer


def kept(layer, boxes_yxyx, scores, groups):
    indices, count = np.zeros((len(scores), layer.outputs), "int32"), np.zeros(len(scores), "int32")
    for row in range(len(scores)):
        found = plain_boxes.suppress(boxes_yxyx[row], scores[row], groups[row], layer.outputs, layer.iou_threshold,
                                     layer.score_threshold)
        indices[row, :len(found)], count[row] = found, len(found)
    return indices, count


def candidates(batch, count, seed=0):
    """Returns crowded boxes in three groups, with scores of which many are equal."""
    random = np.random.default_rng(seed)
    return {"boxes_yxyx": plain_boxes.random_boxes(batch, count, seed=seed, image=60),
            "scores": random.integers(1, 8, (batch, count)).astype("float32") / 8,
            "groups": random.integers(0, 3, (batch, count)).astype("int32")}


def test_contract(tmp_path):
    inputs = candidates(3, 13)
    indices, count = check_layer(lambda **options: layers.NonMaxSuppression(6, 0.3, 0.25, **options), inputs, kept, tmp_path,
                                 discrete=True, always_float32=True)
    assert set(count) != {6}, "the case should have padding"


@pytest.mark.parametrize("iou_threshold, score_threshold", [(0.0, 0.0), (0.5, 0.5), (1.0, 0.0)])
@pytest.mark.parametrize("grouped", [True, False])
def test_equals_the_plain_loop(grouped, iou_threshold, score_threshold):
    inputs = candidates(8, 60, seed=1)
    layer = layers.NonMaxSuppression(25, iou_threshold, score_threshold)
    if grouped:
        indices, count = layer(**inputs)
    else:
        indices, count = layer(inputs["boxes_yxyx"], inputs["scores"])
        inputs["groups"] = np.zeros_like(inputs["groups"])
    wanted = kept(layer, *inputs.values())
    np.testing.assert_array_equal(indices, wanted[0])
    np.testing.assert_array_equal(count, wanted[1])


def test_ties_keep_the_first():
    box = np.tile(np.array([0, 0, 10, 10], "float32"), (1, 5, 1))
    scores = np.array([[0.5, 0.9, 0.9, 0.9, 0.5]], "float32")
    indices, count = layers.NonMaxSuppression(3)(box, scores)
    assert indices.numpy().tolist() == [[1, 0, 0]] and count.numpy().tolist() == [1]
    indices, count = layers.NonMaxSuppression(4)(box, scores, np.array([[0, 1, 1, 2, 0]], "int32"))
    assert indices.numpy().tolist() == [[1, 3, 0, 0]] and count.numpy().tolist() == [3]


def test_groups_stay_apart_where_coordinates_are_negative():
    boxes_yxyx = np.array([[[-50, -50, -10, -10]] * 2 + [[10, 10, 50, 50]] * 2], "float32")
    _, count = layers.NonMaxSuppression(4)(boxes_yxyx, np.array([[0.9, 0.8, 0.7, 0.6]], "float32"),
                                           np.array([[1, 0, 0, 1]], "int32"))
    assert count.numpy() == [4]


def test_nothing_to_keep():
    inputs = candidates(2, 7)
    indices, count = layers.NonMaxSuppression(3, 0.5, 0.99)(**inputs)
    assert not np.any(indices) and not np.any(count)


def test_more_room_than_candidates():
    inputs = candidates(2, 4)
    indices, count = tf.function(layers.NonMaxSuppression(9, 1.0), jit_compile=True)(**inputs)
    assert indices.shape == (2, 9) and count.numpy().tolist() == [4, 4]
    assert [sorted(row[:4]) for row in indices.numpy()] == [[0, 1, 2, 3]] * 2 and not np.any(indices[:, 4:])


@pytest.mark.parametrize("settings", [dict(outputs=0), dict(outputs=1, iou_threshold=1.5)], ids=str)
def test_arguments_are_checked(settings):
    with pytest.raises(ValueError, match="must be"):
        layers.NonMaxSuppression(**settings)
