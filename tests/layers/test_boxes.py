"""Arithmetic on boxes, against one pair at a time."""
import numpy as np
import tensorflow as tf

from layers import boxes
from tests.layers import plain_boxes

A, B = plain_boxes.random_boxes(2, 7, seed=1), plain_boxes.random_boxes(2, 5, seed=2)
INVERTED = np.array([[30, 10, 20, 40]], "float32")
EMPTY = np.array([[20, 10, 20, 40]], "float32")


def pairs(function, a, b):
    return [[[function(x, y) for y in row_b] for x in row_a] for row_a, row_b in zip(a, b)]


def test_area():
    np.testing.assert_allclose(boxes.area(A), [[plain_boxes.area(box) for box in row] for row in A], rtol=1e-5)
    assert np.array_equal(boxes.area(np.concatenate([INVERTED, EMPTY])), [0, 0])


def test_pairs():
    np.testing.assert_allclose(boxes.intersection(A, B), pairs(plain_boxes.shared, A, B), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(boxes.iou(A, B), pairs(plain_boxes.iou, A, B), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        boxes.coverage(A, B), pairs(lambda a, b: plain_boxes.shared(a, b) / plain_boxes.area(a), A, B), rtol=1e-4, atol=1e-6)


def test_known_pairs():
    whole, half, apart = [0, 0, 10, 20], [0, 10, 10, 20], [10, 0, 20, 20]  # the last one touches the first
    one, three = np.array([whole], "float32"), np.array([whole, half, apart], "float32")
    np.testing.assert_array_equal(boxes.iou(one, three), [[1, 0.5, 0]])
    np.testing.assert_array_equal(boxes.coverage(one, three), [[1, 0.5, 0]])
    np.testing.assert_array_equal(boxes.coverage(three, one), [[1], [1], [0]])


def test_boxes_shared_by_a_batch_are_broadcast():
    together = boxes.iou(A[0], B)
    assert together.shape == (2, 7, 5)
    for row in range(2):
        np.testing.assert_allclose(together[row], boxes.iou(A[0], B[row]), rtol=1e-6)


def test_empty_boxes_overlap_nothing_and_have_finite_gradients():
    for box in (INVERTED, EMPTY):
        box = tf.constant(box)
        with tf.GradientTape() as tape:
            tape.watch(box)
            found = boxes.iou(box, box), boxes.coverage(box, A[0]), boxes.iou(A[0], box)
            total = sum(tf.reduce_sum(x) for x in found)
        assert total == 0 and np.isfinite(tape.gradient(total, box)).all()


def test_clip():
    sticking_out = np.array([[-5, -7, 20, 30], [10, 15, 60, 70], [90, 90, 99, 99]], "float32")
    np.testing.assert_array_equal(boxes.clip(sticking_out, 40, 50), [[0, 0, 20, 30], [10, 15, 40, 50], [40, 50, 40, 50]])
