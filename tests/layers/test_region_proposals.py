"""What a proposal network hands on."""
import numpy as np

import layers
from tests.layers import plain_boxes
from tests.layers.layer_contract import check_layer


def proposed(layer, boxes_yxyx, logits):
    height, width = layer.image_size
    found = [np.zeros((len(logits[0]), layer.proposals, 4)), np.zeros((len(logits[0]), layer.proposals)),
             np.zeros((len(logits[0]), layer.proposals), bool)]
    for row in range(len(logits[0])):
        candidates = []
        for level, (level_boxes, level_logits) in enumerate(zip(boxes_yxyx, logits)):
            best = sorted(range(level_logits.shape[1]), key=lambda place: -level_logits[row, place])[:layer.candidates]
            for place in best:
                ymin, xmin, ymax, xmax = level_boxes[row, place]
                box = np.clip([ymin, xmin, ymax, xmax], 0, [height, width, height, width])
                if min(box[2] - box[0], box[3] - box[1]) >= layer.smallest:
                    candidates.append((box, 1 / (1 + np.exp(-np.float64(level_logits[row, place]))), level))
        boxes, scores, levels = zip(*candidates) if candidates else ((), (), ())
        kept = plain_boxes.suppress(boxes, scores, levels, layer.proposals, layer.iou_threshold, 0)
        for number, place in enumerate(kept):
            for values, value in zip(found, (boxes[place], scores[place], True)):
                values[row, number] = value
    return tuple(found)


def levels(seed=0):
    random = np.random.default_rng(seed)
    fine, coarse = plain_boxes.random_boxes(3, 17, seed=seed), plain_boxes.random_boxes(3, 9, seed=seed + 1, smallest=30)
    logits = [random.normal(size=(3, count)).astype("float32") for count in (17, 9)]
    return {"boxes_yxyx": [fine, coarse], "logits": logits}


def test_contract(tmp_path):
    boxes_yxyx, scores, valid = check_layer(
        lambda **options: layers.RegionProposals(
            18, (90, 80), candidates=11, iou_threshold=0.4, smallest=12.0, **options),
        levels(), proposed, tmp_path, discrete=True, always_float32=True)
    assert valid.any() and not valid.all(), "the case should have padding"
    assert boxes_yxyx.min() >= 0 and boxes_yxyx[..., 2].max() <= 90 and boxes_yxyx[..., 3].max() <= 80
    assert (np.diff(scores) <= 0).all()


def test_equals_the_plain_loop_with_all_candidates():
    inputs, layer = levels(seed=4), layers.RegionProposals(10, (100, 100))
    for found, wanted in zip(layer(**inputs), proposed(layer, **inputs)):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)


def test_levels_are_kept_apart():
    box = np.array([[[10, 10, 50, 50]]], "float32")
    logits = [np.array([[1.0]], "float32"), np.array([[2.0]], "float32")]
    boxes_yxyx, scores, valid = layers.RegionProposals(3, (64, 64))([box, box], logits)
    assert valid.numpy().tolist() == [[True, True, False]]
    np.testing.assert_allclose(scores, [[1 / (1 + np.exp(-2)), 1 / (1 + np.exp(-1)), 0]], rtol=1e-6)
    together = layers.RegionProposals(3, (64, 64))([np.tile(box, (1, 2, 1))], [np.array([[1.0, 2.0]], "float32")])
    assert together[2].numpy().tolist() == [[True, False, False]]


def test_nothing_to_propose():
    outside = np.tile(np.array([200, 200, 260, 260], "float32"), (2, 5, 1))
    boxes_yxyx, scores, valid = layers.RegionProposals(4, (64, 64))([outside], [np.full((2, 5), 9.0, "float32")])
    assert not np.any(boxes_yxyx) and not np.any(scores) and not np.any(valid)
    assert boxes_yxyx.shape == (2, 4, 4)
