"""Which object each anchor stands for, against a plain reading of the rules."""
import numpy as np
import pytest

import layers
from tests.layers import plain_boxes
from tests.layers.layer_contract import check_layer

BACKGROUND, NEITHER = -1, -2


def matched(layer, anchors, boxes_yxyx, present, ignore):
    return np.array([matched_row(layer, *row) for row in zip(anchors, boxes_yxyx, present, ignore)], "int32")


def matched_row(layer, anchors, boxes_yxyx, present, ignore):
    objects = [o for o in range(len(boxes_yxyx)) if present[o] and not ignore[o]]
    regions = [o for o in range(len(boxes_yxyx)) if present[o] and ignore[o]]
    overlap = {(a, o): plain_boxes.iou(anchors[a], boxes_yxyx[o]) for a in range(len(anchors)) for o in objects}
    matches = []
    for a, anchor in enumerate(anchors):
        best = max(objects, key=lambda o: overlap[a, o], default=None)
        highest = overlap[a, best] if objects else 0
        match = best if highest >= layer.foreground else BACKGROUND if highest < layer.background else NEITHER
        covered = [plain_boxes.shared(anchor, boxes_yxyx[o]) / plain_boxes.area(anchor) for o in regions]
        if match < 0 and any(part >= layer.foreground for part in covered):
            match = NEITHER
        if layer.force:
            forced = [o for o in objects if overlap[a, o] > 0
                      and overlap[a, o] == max(overlap[b, o] for b in range(len(anchors)))]
            match = max(forced, key=lambda o: overlap[a, o], default=match)
        matches.append(match)
    return matches


def scene():
    """Returns anchors near objects and far from them, some objects padded and some to be ignored."""
    boxes_yxyx = plain_boxes.random_boxes(3, 6, seed=3)
    random = np.random.default_rng(4)
    near = np.repeat(boxes_yxyx, 4, axis=1) + random.normal(scale=5, size=(3, 24, 4)).astype("float32")
    anchors = np.concatenate([near, plain_boxes.random_boxes(3, 7, seed=5)], axis=1)
    present = np.array([[1, 1, 1, 1, 0, 0], [1, 0, 1, 1, 1, 0], [1, 1, 1, 1, 1, 0]], bool)
    ignore = np.array([[0, 1, 0, 0, 1, 0], [0, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 1]], bool)
    return {"anchors": anchors, "boxes_yxyx": boxes_yxyx, "present": present, "ignore": ignore}


@pytest.mark.parametrize("force", [True, False])
def test_contract(force, tmp_path):
    matches = check_layer(lambda **options: layers.BoxMatcher(0.7, 0.4, force=force, **options), scene(), matched, tmp_path,
                          masks={"present": "boxes_yxyx"}, discrete=True, always_float32=True)
    assert {BACKGROUND, NEITHER, 0, 2, 3} <= set(matches.ravel())


def one_object(box, anchors, ignore=False, **settings):
    return layers.BoxMatcher(**settings)(np.array(anchors, "float32"), np.array([[box]], "float32"), np.array([[True]]),
                                         np.array([[ignore]]))[0].numpy()


BOX = [0, 0, 10, 10]
ANCHORS = [[0, 0, 10, 10], [0, 0, 10, 7], [0, 0, 10, 5], [0, 0, 10, 2], [50, 50, 60, 60]]  # overlaps 1, 0.7, 0.5, 0.2, 0


def test_thresholds_belong_to_the_upper_side():
    assert list(one_object(BOX, ANCHORS, foreground=0.5, background=0.2)) == [0, 0, 0, NEITHER, BACKGROUND]
    assert list(one_object(BOX, ANCHORS, foreground=1.0, background=0.5)) == [0, NEITHER, NEITHER, BACKGROUND, BACKGROUND]


def test_the_best_anchor_is_forced_and_so_are_its_equals():
    weak = ANCHORS[3:] + [[8, 0, 10, 10]]  # the same overlap of 0.2
    assert list(one_object(BOX, weak)) == [BACKGROUND] * 3
    assert list(one_object(BOX, weak, force=True)) == [0, BACKGROUND, 0]
    assert list(one_object(BOX, ANCHORS, force=True, foreground=0.7, background=0.3)) == [0, 0, NEITHER, -1, -1]


def test_an_object_that_nothing_overlaps_forces_nothing():
    assert list(one_object(BOX, ANCHORS[4:] * 3, force=True)) == [BACKGROUND] * 3


def test_an_anchor_forced_by_two_objects_takes_the_one_it_overlaps_more():
    boxes_yxyx = np.array([[[0, 0, 10, 2], [0, 0, 10, 4]]], "float32")
    yes = np.ones((1, 2), bool)
    matches = layers.BoxMatcher(force=True)(np.array(ANCHORS[:1] + ANCHORS[4:], "float32"), boxes_yxyx, yes, ~yes)
    assert matches.numpy().tolist() == [[1, BACKGROUND]]


def test_forcing_wins_over_a_better_object():
    boxes_yxyx = np.array([[[0, 0, 10, 10], [0, 0, 10, 6]]], "float32")
    anchors = np.array([[0, 0, 10, 9], [0, 0, 10, 10]], "float32")  # the first is the best there is for the second object
    yes = np.ones((1, 2), bool)
    assert list(layers.BoxMatcher(0.5, 0.4)(anchors, boxes_yxyx, yes, ~yes)[0]) == [0, 0]
    assert list(layers.BoxMatcher(0.5, 0.4, force=True)(anchors, boxes_yxyx, yes, ~yes)[0]) == [1, 0]


def test_ignored_regions_take_anchors_from_the_background_only():
    inside, half, outside = [2, 2, 4, 4], [8, 0, 12, 10], [30, 30, 40, 40]
    assert list(one_object([0, 0, 10, 10], [inside, half, outside], ignore=True)) == [NEITHER, NEITHER, BACKGROUND]
    crowd_and_object = np.array([[[0, 0, 100, 100], [2, 2, 4, 4]]], "float32")
    yes = np.ones((1, 2), bool)
    matches = layers.BoxMatcher()(np.array([inside], "float32"), crowd_and_object, yes, np.array([[True, False]]))
    assert list(matches[0]) == [1]


def test_without_objects_all_is_background():
    empty = np.zeros((2, 3), bool)
    for force in (True, False):
        matches = layers.BoxMatcher(force=force)(np.array(ANCHORS, "float32"), np.zeros((2, 3, 4), "float32"), empty, empty)
        assert np.array_equal(matches, np.full((2, 5), BACKGROUND))


@pytest.mark.parametrize("foreground, background", [(0.4, 0.5), (0.5, 0.0), (1.1, 0.5)])
def test_thresholds_are_checked(foreground, background):
    with pytest.raises(ValueError, match="must hold"):
        layers.BoxMatcher(foreground, background)
