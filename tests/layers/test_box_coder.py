"""Boxes as offsets from anchors."""
import numpy as np
import pytest

import layers
from tests.layers.layer_contract import check_layer

WEIGHTS = (10.0, 8.0, 5.0, 4.0)


def some_boxes(*shape, seed=0, largest=200):
    """Returns boxes with sides from 1 to `largest` pixels."""
    random = np.random.default_rng(seed)
    start, sides = random.uniform(-50, 300, (*shape, 2)), random.uniform(1, largest, (*shape, 2))
    return np.concatenate([start, start + sides], axis=-1).astype("float32")


def decoded(layer, offsets, anchors):
    """Moves and stretches one anchor at a time."""
    found = np.empty(offsets.shape)
    for place in np.ndindex(offsets.shape[:-1]):
        ty, tx, th, tw = offsets[place] / np.array(layer.weights_yxhw)
        ymin, xmin, ymax, xmax = anchors[place].astype("float64")
        height, width = ymax - ymin, xmax - xmin
        y, x = ymin + height / 2 + ty * height, xmin + width / 2 + tx * width
        height, width = height * min(np.exp(th), layer.largest), width * min(np.exp(tw), layer.largest)
        found[place] = y - height / 2, x - width / 2, y + height / 2, x + width / 2
    return found


def test_contract(tmp_path):
    offsets = np.random.default_rng(1).normal(size=(2, 5, 4)).astype("float32") * 6
    offsets[0, 0, 2] = 5 * np.log(30) + 1  # beyond the limit
    check_layer(lambda **options: layers.BoxCoder(WEIGHTS, largest=30.0, **options),
                {"offsets": offsets, "anchors": some_boxes(2, 5)}, decoded, tmp_path, always_float32=True)


def test_decoding_undoes_encoding():
    coder = layers.BoxCoder(WEIGHTS)
    boxes_yxyx, anchors = some_boxes(3, 50, seed=1), some_boxes(3, 50, seed=2, largest=60)
    anchors[..., 2:] = np.maximum(anchors[..., 2:], anchors[..., :2] + 4)  # at most a 50th of a box
    np.testing.assert_allclose(coder(coder.encode(boxes_yxyx, anchors), anchors), boxes_yxyx, atol=1e-3)


def test_an_anchor_is_its_own_zero():
    anchors = some_boxes(7)
    np.testing.assert_allclose(layers.BoxCoder().encode(anchors, anchors), np.zeros((7, 4)), atol=1e-6)


def test_offsets_have_the_scale_of_the_paper():
    # twice as high, half as wide, moved by a quarter of the anchor's height and a half of its width
    offsets = layers.BoxCoder((10.0, 10.0, 5.0, 5.0)).encode(
        np.array([[-15.0, 35.0, 65.0, 45.0]], "float32"), np.array([[-5.0, 20.0, 35.0, 40.0]], "float32"))
    np.testing.assert_allclose(offsets, [[2.5, 5.0, 5 * np.log(2), -5 * np.log(2)]], rtol=1e-5)


def test_anchors_are_broadcast():
    offsets, anchors = np.random.default_rng(0).normal(size=(2, 5, 3, 4)).astype("float32"), some_boxes(2, 5)
    together = layers.BoxCoder()(offsets, anchors[:, :, None])
    for c in range(3):
        np.testing.assert_allclose(together[:, :, c], layers.BoxCoder()(offsets[:, :, c], anchors), rtol=1e-6)


def test_huge_offsets_stay_finite():
    boxes_yxyx = np.asarray(layers.BoxCoder()(np.full((1, 4), 1e4, "float32"), np.array([[0, 0, 8, 4]], "float32")))
    assert np.isfinite(boxes_yxyx).all()
    np.testing.assert_allclose(boxes_yxyx[0, 2:] - boxes_yxyx[0, :2], [8 * 62.5, 4 * 62.5], rtol=1e-3)


def test_padding_encodes_to_finite_numbers():
    # padded objects and padded regions are all zero; their loss has weight 0, and 0 * infinity is not 0
    padding, box = np.zeros((1, 4), "float32"), np.array([[10.0, 20.0, 50.0, 40.0]], "float32")
    for boxes_yxyx, anchors in ((padding, box), (box, padding), (padding, padding)):
        assert np.isfinite(layers.BoxCoder(WEIGHTS).encode(boxes_yxyx, anchors)).all()


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (1.0, 1.0, 0.0, 1.0)])
def test_weights_are_checked(weights):
    with pytest.raises(ValueError, match="four positive"):
        layers.BoxCoder(weights)
