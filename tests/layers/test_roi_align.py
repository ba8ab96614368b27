"""Features of regions by bilinear interpolation, against point-by-point sampling."""
import numpy as np
import pytest
import tensorflow as tf

import layers
from tests.layers import plain_boxes
from tests.layers.layer_contract import check_layer


def bilinear(maps, y, x):
    """Returns the features (channels,) at one point of (height, width, channels); beyond the border the border's."""
    y, x = np.clip(y, 0, maps.shape[0] - 1), np.clip(x, 0, maps.shape[1] - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, maps.shape[0] - 1), min(left + 1, maps.shape[1] - 1)
    upper = maps[top, left] * (left + 1 - x) + maps[top, right] * (x - left)
    lower = maps[bottom, left] * (left + 1 - x) + maps[bottom, right] * (x - left)
    return upper * (top + 1 - y) + lower * (y - top)


def level_of(layer, box):
    """Eq. 1 of the paper, k = floor(k0 + log2(sqrt(width height) / 224)), level k of stride 2^k."""
    side = max(np.sqrt(plain_boxes.area(box)), 1e-6)
    wanted = np.log2(layer.canonical_stride) + np.floor(np.log2(side / layer.canonical_size))
    return int(np.clip(wanted - np.log2(layer.strides[0]), 0, len(layer.strides) - 1))


def aligned(layer, boxes_yxyx, features):
    size, samples = layer.size, layer.samples
    found = np.zeros((*boxes_yxyx.shape[:2], size, size, features[0].shape[-1]))
    for row, region, i, j in np.ndindex(found.shape[:-1]):
        box = boxes_yxyx[row, region].astype("float64")
        level = level_of(layer, box)
        height, width, _ = features[level][row].shape
        ymin, xmin, ymax, xmax = np.clip(box / layer.strides[level], 0, [height, width, height, width])
        for a, b in np.ndindex(samples, samples):
            y = ymin + (i + (a + 0.5) / samples) * (ymax - ymin) / size - 0.5  # cell 0 has its center at 1/2
            x = xmin + (j + (b + 0.5) / samples) * (xmax - xmin) / size - 0.5
            found[row, region, i, j] += bilinear(features[level][row].astype("float64"), y, x) / samples ** 2
    return found


def random_maps(*shapes, seed=0):
    return [np.random.default_rng(seed).normal(size=shape).astype("float32") for shape in shapes]


def pixel_ramps(height, width, strides):
    """Returns maps whose features are the pixel coordinates y, x of each cell's center: linear, and alike on all levels."""
    return [np.stack(np.meshgrid((np.arange(height // stride) + 0.5) * stride, (np.arange(width // stride) + 0.5) * stride,
                                 indexing="ij"), -1)[None].astype("float32") for stride in strides]


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_contract(samples, tmp_path):
    boxes_yxyx = plain_boxes.random_boxes(2, 7, image=36, smallest=2, largest=30)  # some stick out
    layer = layers.RoIAlign(3, (4, 8), samples, canonical_size=16, canonical_stride=8)
    assert {level_of(layer, box) for box in boxes_yxyx[0]} == {0, 1}
    check_layer(lambda **options: layers.RoIAlign(3, (4, 8), samples, 16, 8, xla=True, **options),
                {"boxes_yxyx": boxes_yxyx, "features": random_maps((2, 9, 8, 5), (2, 4, 6, 5))}, aligned, tmp_path,
                constant=["boxes_yxyx"])


@pytest.mark.parametrize("samples", [1, 2, 3])
@pytest.mark.parametrize("precision, tolerance", [("float32", 1e-5), ("mixed_bfloat16", 2e-2)])
def test_crops_are_the_products_and_have_their_gradient(samples, precision, tolerance):
    boxes_yxyx = plain_boxes.random_boxes(3, 40, image=36, smallest=2, largest=30)
    boxes_yxyx[0, :3] = [[0, 0, 36, 32], [0, 0, 0, 0], [-9, 40, 60, 80]]
    features = [tf.constant(x) for x in random_maps((3, 9, 8, 5), (3, 4, 6, 5))]
    found = []
    for xla in (False, True):
        layer = layers.RoIAlign(4, (4, 8), samples, 16, 8, xla=xla, dtype=precision)

        @tf.function
        def run(boxes_yxyx, *features):
            with tf.GradientTape() as tape:
                tape.watch(features)
                out = tf.cast(layer(boxes_yxyx, list(features)), "float32")
                total = tf.reduce_sum(tf.sin(3 * out))
            return [out, *tape.gradient(total, features)]

        found.append(run(tf.constant(boxes_yxyx), *features))
        assert layers.RoIAlign.from_config(layer.get_config()).xla == xla
    for crops, products in zip(*found):
        np.testing.assert_allclose(crops, products, atol=tolerance * np.abs(products).max())


def test_the_gradient_is_the_same_each_time():
    boxes_yxyx = tf.constant(plain_boxes.random_boxes(1, 300, image=64, largest=60))  # all over each other
    maps = tf.constant(random_maps((1, 16, 16, 64))[0])
    layer = layers.RoIAlign(7, (4,))

    @tf.function
    def gradient():
        with tf.GradientTape() as tape:
            tape.watch(maps)
            total = tf.reduce_sum(layer(boxes_yxyx, [maps]) ** 2)
        return tape.gradient(total, maps)

    first = gradient().numpy()
    assert all((gradient().numpy() == first).all() for _ in range(10))


def test_a_constant_map_gives_the_constant():
    boxes_yxyx = plain_boxes.random_boxes(1, 30, image=64, largest=64)
    features = [np.full((1, side, side, 2), 3.5, "float32") for side in (16, 8)]
    found = layers.RoIAlign(7, (4, 8))(boxes_yxyx, features)
    np.testing.assert_allclose(found, np.full((1, 30, 7, 7, 2), 3.5), rtol=1e-6)


@pytest.mark.parametrize("samples", [1, 2, 5])
def test_a_linear_map_gives_the_centers_of_the_bins(samples):
    strides = (4, 8, 16)
    boxes_yxyx = np.array([[[20, 30, 27, 33], [16.5, 40.25, 70, 60], [10, 12, 130, 100], [50, 50, 50, 50]]], "float32")
    layer = layers.RoIAlign(3, strides, samples, canonical_size=64, canonical_stride=16)
    assert layer.level(boxes_yxyx).numpy().tolist() == [[0, 1, 2, 0]]
    found = layer(boxes_yxyx, pixel_ramps(160, 128, strides)).numpy()
    fractions = (np.arange(3) + 0.5) / 3
    for box, region in zip(boxes_yxyx[0], found[0]):
        np.testing.assert_allclose(region[:, :, 0], np.tile((box[0] + fractions * (box[2] - box[0]))[:, None], 3), rtol=1e-5)
        np.testing.assert_allclose(region[:, :, 1], np.tile(box[1] + fractions * (box[3] - box[1]), (3, 1)), rtol=1e-5)


def test_levels_follow_the_paper():
    strides = (4, 8, 16, 32)
    layer = layers.RoIAlign(1, strides)
    sides = np.array([1, 111, 112, 223, 224, 300, 447.9, 448, 1000, 5000], "float32")
    expected = [0, 0, 1, 1, 2, 2, 2, 3, 3, 3]
    for stretch in (1, 4):  # what counts is the area
        boxes_yxyx = np.stack([0 * sides, 0 * sides, sides * stretch, sides / stretch], -1)[None]
        assert layer.level(boxes_yxyx).numpy().tolist() == [expected]
        features = [np.full((1, 8, 9, 1), level, "float32") for level in range(4)]  # each level says which one it is
        assert np.ravel(layer(boxes_yxyx, features)).tolist() == expected
    assert layers.RoIAlign(1, (16,)).level(boxes_yxyx).numpy().tolist() == [[0] * 10]


def test_inverted_and_distant_regions_are_finite():
    boxes_yxyx = np.array([[[30, 30, 10, 10], [-500, -500, -400, -400], [900, 0, 990, 20], [0, 0, 0, 0]]], "float32")
    assert np.isfinite(layers.RoIAlign(2, (4, 8))(boxes_yxyx, random_maps((1, 9, 8, 5), (1, 4, 6, 5)))).all()


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_boxes_stay_float32_under_low_precision(precision):
    """Near 300 pixels bfloat16 has steps of 2, which would move a region by half a cell of stride 4."""
    ramp = pixel_ramps(400, 400, (4,))[0] - 300
    found = layers.RoIAlign(2, (4,), dtype=precision)(np.array([[[299.0, 297.25, 300.5, 301.75]]], "float32"), [ramp])
    np.testing.assert_allclose(found.numpy().astype("float32")[0, 0, :, 0, 0], [-0.625, 0.125], atol=0.02)
    np.testing.assert_allclose(found.numpy().astype("float32")[0, 0, 0, :, 1], [-1.625, 0.625], atol=0.02)


def test_equals_torchvision():
    torch = pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision")
    maps, = random_maps((1, 20, 24, 3))
    boxes_yxyx = np.array([[[10, 20, 40, 50], [8, 4, 70, 90], [33.3, 41.7, 35.1, 60.9]]], "float32")  # inside the map
    theirs = torchvision.ops.roi_align(
        torch.tensor(maps.transpose(0, 3, 1, 2)), [torch.tensor(boxes_yxyx[0][:, [1, 0, 3, 2]])], 5, spatial_scale=0.25,
        sampling_ratio=2, aligned=True)
    np.testing.assert_allclose(
        layers.RoIAlign(5, (4,))(boxes_yxyx, [maps])[0], theirs.numpy().transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", [dict(size=0), dict(size=1, samples=0)], ids=str)
def test_arguments_are_checked(settings):
    with pytest.raises(ValueError, match="at least 1"):
        layers.RoIAlign(strides=(4,), **settings)


def test_there_must_be_a_map_per_stride():
    with pytest.raises(ValueError, match="2 strides but 1"):
        layers.RoIAlign(2, (4, 8))(np.zeros((1, 3, 4), "float32"), random_maps((1, 8, 9, 2)))
