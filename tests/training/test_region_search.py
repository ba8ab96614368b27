"""Selective search against a plain version of it, and the file in which regions are kept."""
import dataclasses
import itertools
import os
import types

import numpy as np
import pytest
import tensorflow as tf

from training.app import App
from training.data import sources
from training.vision.detection import boxed_images, graph_segmentation, region_cache, region_search
from training.vision.detection.region_search import COLOR, FILL, SIZE, TEXTURE, Search

CONFIG = App("detection").config("fast_rcnn", image_size=32, regions=12, batch_size=4, augment=False)


def picture(height=24, width=20, seed=0):
    """Returns an image with a few flat rectangles and some noise, uint8 (height, width, 3)."""
    random = np.random.default_rng(seed)
    image = np.full((height, width, 3), 90.0)
    for _ in range(5):
        y, x = random.integers(0, height - 4), random.integers(0, width - 4)
        image[y:y + random.integers(3, 12), x:x + random.integers(3, 12)] = random.integers(0, 256, 3)
    return np.clip(image + random.normal(0, 3, image.shape), 0, 255).astype("uint8")


@tf.function(autograph=False)
def segment(images, scales, smallest, most):
    return graph_segmentation.segment(images, scales, smallest, most)


def plain_segments(image, scale, smallest):
    """Felzenszwalb and Huttenlocher's algorithm as they state it: one edge after another."""
    height, width = image.shape[:2]
    edges = [(float(np.sqrt(((image[a] - image[b]) ** 2).sum(dtype=np.float32))), a[0] * width + a[1], b[0] * width + b[1])
             for a, b in ((((y, x), (y + down, x + right))) for down, right in ((0, 1), (1, 0), (1, 1), (1, -1))
                          for y in range(height) for x in range(width))
             if 0 <= b[0] < height and 0 <= b[1] < width]
    edges.sort()
    of, sizes, inner = list(range(height * width)), [1] * (height * width), [0.0] * (height * width)

    def join(a, b, weight):
        of[:] = [a if each == b else each for each in of]
        sizes[a] += sizes[b]
        inner[a] = weight

    for weight, one, other in edges:
        a, b = of[one], of[other]
        if a != b and weight <= min(inner[a] + scale / sizes[a], inner[b] + scale / sizes[b]):
            join(a, b, weight)
    for weight, one, other in edges:
        a, b = of[one], of[other]
        if a != b and min(sizes[a], sizes[b]) < smallest:
            join(a, b, weight)
    return np.array(of).reshape(height, width)


def same_partition(one, other):
    pairs = len(set(zip(one.ravel(), other.ravel())))
    return pairs == len(set(one.ravel())) == len(set(other.ravel()))


@pytest.mark.parametrize("scale, smallest", [(0.1, 1), (0.4, 6), (3.0, 1)])
def test_one_edge_at_a_time_gives_the_authors_segments(monkeypatch, scale, smallest):
    monkeypatch.setattr(graph_segmentation, "PARTS", 10 ** 6)
    monkeypatch.setattr(graph_segmentation, "SMALLEST_PART", 1)
    image = np.float32(picture(11, 9) / 255)
    found = tf.function(graph_segmentation.segment, autograph=False)(tf.constant(image[None]), tf.constant([scale]), smallest, 99).numpy()[0]
    assert same_partition(found, plain_segments(image, scale, smallest))
    assert set(found.ravel()) == set(range(found.max() + 1)) and 1 < found.max() + 1 < 99


def test_images_are_segmented_independently_and_have_no_small_segments():
    images = np.stack([np.float32(picture(seed=seed) / 255) for seed in (0, 1)])
    scales = tf.constant([0.2, 0.5])
    found = segment(tf.constant(images), scales, 8, 99).numpy()
    for number in range(2):
        alone = segment(tf.constant(images[number:number + 1]), scales[number:number + 1], 8, 99).numpy()[0]
        np.testing.assert_array_equal(found[number], alone)
        assert np.bincount(alone.ravel()).min() >= 8


def test_the_number_of_segments_is_limited_for_noise():
    noise = tf.constant(np.random.default_rng(0).random((1, 30, 31, 3)), tf.float32)
    assert segment(noise, tf.constant([1e-4]), 2, 10 ** 6).numpy().max() >= 40
    assert segment(noise, tf.constant([1e-4]), 2, 40).numpy().max() < 40


def plain_grouping(segments, colors, gradients, measures):
    """Returns the boxes of all regions, the last one joined first, from sets of pixels and without any update of what is known."""
    height, width = segments.shape
    regions = {number: segments == number for number in range(segments.max() + 1)}
    near = {frozenset((segments[y, x], segments[y + down, x + right])) for down, right in ((0, 1), (1, 0), (1, 1), (1, -1))
            for y in range(height - down) for x in range(width) if 0 <= x + right < width}
    near = {pair for pair in near if len(pair) == 2}

    def box(mask):
        y, x = np.nonzero(mask)
        return [y.min(), x.min(), y.max() + 1, x.max() + 1]

    def histogram(mask, values, bins):
        values = values[mask].reshape(mask.sum(), -1)
        return np.concatenate([np.histogram(np.minimum(column, 1 - 1e-6), bins, (0, 1))[0] for column in values.T]) / values.size

    def similarity(a, b):
        top = box(a | b)
        shared = [np.minimum(histogram(a, values, bins), histogram(b, values, bins)).sum()
                  for values, bins in ((colors, 25), (gradients, 10))]
        both = a.sum() + b.sum()
        known = {COLOR: shared[0], TEXTURE: shared[1], SIZE: 1 - both / a.size,
                 FILL: 1 - ((top[2] - top[0]) * (top[3] - top[1]) - both) / a.size}
        return sum(known[measure] for measure in measures)

    made = [box(mask) for mask in regions.values()]
    while near:
        one, other = max(near, key=lambda pair: similarity(*(regions[number] for number in pair)))
        number = len(made)
        regions[number] = regions[one] | regions[other]
        made.append(box(regions[number]))
        near = {frozenset(number if each in (one, other) else each for each in pair) for pair in near}
        near = {pair for pair in near if len(pair) == 2}
    return np.array(made[::-1])


@pytest.mark.parametrize("measures", [(COLOR, TEXTURE, SIZE, FILL), (TEXTURE, SIZE)])
def test_grouping_is_the_plain_one(measures):
    image = tf.constant(np.float32(picture()))
    colors = tf.stack(region_search._spaces(image, ("hsv", "lab")))
    gradients = region_search._gradients(colors)
    segments = segment(colors, tf.constant([0.1, 0.3]), 6, 99)
    most = tf.reduce_max(segments) + 1
    parts = region_search._adjacent(segments, most), *region_search._described(segments, most, colors, gradients)
    weights = np.zeros((2, 4), np.float32)
    weights[:, list(measures)] = 1
    boxes, exists = tf.function(region_search._grouped, autograph=False)(*parts, tf.constant(weights), 24.0 * 20)
    for number in range(2):
        expected = plain_grouping(segments[number].numpy(), colors[number].numpy(), gradients[number].numpy(), measures)
        assert len(expected) > 5
        np.testing.assert_array_equal(boxes[number][exists[number]], expected)


def test_a_hierarchy_of_one_segment_beside_one_of_two():
    """A large scale may join everything that a small one separates."""
    pairs = tf.constant([[[-1, -1]], [[0, 1]]])
    boxes = tf.constant([[[0, 0, 2, 2], [0, 0, 0, 0]], [[0, 0, 2, 1], [0, 1, 2, 2]]], tf.float32)
    histograms = tf.ones((2, 2, 3 * region_search.COLOR_BINS + 1))
    merged, exists = region_search._grouped(pairs, tf.constant([[4.0, 0], [2, 2]]), boxes, histograms, tf.ones((2, 4)), 4.0)
    assert [row[found].tolist() for row, found in zip(merged.numpy(), exists.numpy())] == [
        [[0, 0, 2, 2]], [[0, 0, 2, 2], [0, 1, 2, 2], [0, 0, 2, 1]]]


def test_regions_are_different_repeatable_and_padded():
    images = np.stack([picture(32, 32, seed) for seed in (3, 4)])
    boxes, valid = (part.numpy() for part in region_search.regions(tf.constant(images), 400))
    again = region_search.regions(tf.constant(images[1:], tf.float32), 400)
    np.testing.assert_array_equal(again[0][0], boxes[1])
    for one, is_region in zip(boxes, valid):
        assert 10 < is_region.sum() < 400 and not one[~is_region].any() and not np.diff(is_region.astype(int)).max() > 0
        kept = one[is_region]
        assert len(np.unique(kept, axis=0)) == len(kept) and (kept[:, 2:] - kept[:, :2] >= 4).all()
        assert kept.min() >= 0 and kept.max() <= 32 and [0, 0, 32, 32] in kept.tolist()


@pytest.mark.parametrize("image", [np.zeros((8, 8, 3)), np.pad(np.full((32, 1, 3), 200), ((0, 0), (0, 31), (0, 0)))])
def test_flat_images_and_images_one_pixel_wide_have_the_whole_as_a_region(image):
    boxes, valid = region_search.regions(tf.constant(image[None], tf.float32), 9, Search(smallest_segment=1))
    assert valid[0, 0] and boxes.numpy()[0].max() == len(image)


def test_the_search_finds_the_objects_of_scenes():
    config = dataclasses.replace(App("detection").config("fast_rcnn"), limit_steps=1)
    prepared = sources.builder("digit_scenes", config)
    examples = itertools.islice(sources.read(prepared, "validation").as_numpy_iterator(), 8)
    overlaps = []
    for example in examples:
        found = region_cache.of_image(tf.constant(example["image"], tf.float32), config).numpy()
        boxes = example["objects"]["bbox"] * 128
        low, high = np.maximum(boxes[:, None, :2], found[:, :2]), np.minimum(boxes[:, None, 2:], found[:, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=-1)
        areas = [np.prod(part[:, 2:] - part[:, :2], axis=-1) for part in (boxes, found)]
        overlaps.append((shared / (areas[0][:, None] + areas[1] - shared)).max(axis=1))
    assert np.mean(np.concatenate(overlaps) >= 0.5) > 0.9


class FewImages:
    """A builder with three images, instead of a data set."""

    def __init__(self, folder, images):
        self.data_dir, self.images = folder, images
        feature = types.SimpleNamespace(decode_example=lambda encoded: tf.io.decode_png(encoded, 3))
        split = types.SimpleNamespace(num_examples=len(images), num_bytes=sum(map(len, images)))
        self.info = types.SimpleNamespace(full_name="few/1.0.0", features={"image": feature}, splits={"train": split})


@pytest.fixture
def few(tmp_path, monkeypatch):
    images = [tf.io.encode_png(picture(20, 32, seed)).numpy() for seed in range(3)]
    monkeypatch.setattr(region_cache.sources, "read", lambda prepared, split, **_: tf.data.Dataset.from_tensor_slices(
        {"image": prepared.images}).apply(tf.data.experimental.assert_cardinality(len(prepared.images))))
    return FewImages(tmp_path, images)


def looked_up(regions, images):
    data = tf.data.Dataset.from_tensor_slices(images).map(regions)
    return np.stack(list(data.as_numpy_iterator()))


def test_regions_are_searched_once_and_found_again_in_any_order(few, capsys):
    regions = region_cache.of_split(few, "train", CONFIG)
    regions.prepare()
    first = looked_up(regions, few.images)
    assert "searching regions in 3 images" in capsys.readouterr().out
    again = region_cache.of_split(few, "train", CONFIG)
    again.prepare()
    np.testing.assert_array_equal(looked_up(again, few.images[::-1]), first[::-1])
    assert not capsys.readouterr().out
    square = np.zeros((32, 32, 3), np.float32)
    square[:20] = tf.io.decode_png(few.images[0])
    np.testing.assert_array_equal(first[0], region_cache.of_image(tf.constant(square), CONFIG))  # what an export finds
    with pytest.raises(tf.errors.InvalidArgumentError, match="has changed"):
        looked_up(again, [tf.io.encode_png(picture(9, 9)).numpy()])


def test_a_damaged_file_and_other_settings_are_searched_again(few, capsys):
    paths = set()
    for config in (CONFIG, dataclasses.replace(CONFIG, regions=5)):
        region_cache.of_split(few, "train", config).prepare()
        paths.add(region_cache.path_of(few, "train", config))
    assert capsys.readouterr().out.count("searching") == 2 and len(paths) == 2
    path = region_cache.path_of(few, "train", CONFIG)
    path.write_bytes(path.read_bytes()[:-100])
    region_cache.of_split(few, "train", CONFIG).prepare()
    assert "searching" in capsys.readouterr().out and not list(path.parent.glob("*.tmp"))


def test_a_read_only_folder_is_said_and_regions_stay_in_memory(few, monkeypatch, capsys):
    def refused(*_, **__):
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(region_cache.files, "lock", refused)  # the user of the tests may write everywhere
    regions = region_cache.of_split(few, "train", CONFIG)
    regions.prepare()
    assert "cannot be kept in" in (said := capsys.readouterr().out) and "Permission denied" in said
    assert looked_up(regions, few.images).shape == (3, 12, 4) and regions.kept() is None


def test_a_quick_check_searches_only_what_it_reads(few):
    assert region_cache.of_split(few, "train", dataclasses.replace(CONFIG, limit_steps=2)) is None
    assert region_cache.of_split(few, "train", App("detection").config("retinanet")) is None


def test_the_augmentation_moves_regions_as_it_moves_boxes():
    config = dataclasses.replace(CONFIG, augment=True, max_objects=2, regions=3)
    boxes = np.array([[0.25, 0.25, 0.5, 0.75], [0.5, 0.125, 0.75, 0.5]], np.float32)
    example = {"image": tf.constant(picture(32, 64)), "boxes": tf.constant(boxes), "class_ids": tf.constant([0, 1]),
               "is_crowd": tf.constant([False] * 2), "is_difficult": tf.constant([False] * 2),
               # the square has 32 pixels for the 64 of the image's longer side
               "regions_yxyx": tf.constant(np.concatenate([boxes * [16, 32, 16, 32], np.zeros((1, 4))]), tf.float32)}
    recipe = boxed_images.augmentation.PHOTOGRAPHS
    for seed in range(5):
        inputs, targets = boxed_images._train_element(example, tf.constant([0, seed]), config, recipe, room=2)
        regions, ids = inputs["regions_yxyx"].numpy(), targets["class_ids"].numpy()
        assert not regions[2].any()
        for box, class_id in zip(targets["boxes_yxyx"].numpy(), ids):
            if class_id >= 0:
                np.testing.assert_allclose(regions[class_id], box, atol=1e-4)
