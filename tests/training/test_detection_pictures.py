"""Pictures hold what they promise: boxes where they belong, in colors that can be told apart, and labels inside."""
import itertools
import types

import numpy as np
import pytest
import tensorflow as tf

from training.data.spec import Info
from training.vision import drawing
from training.vision.detection import pictures

GRAY = np.full((128, 128, 3), 90, np.uint8)


def near(picture, color):
    return (picture.astype(int) == color).all(axis=-1)


def test_a_small_image_is_enlarged_by_a_whole_number_and_kept():
    image = np.random.default_rng(0).integers(0, 256, (128, 100, 3), dtype=np.uint8)
    drawn = drawing.draw(image, np.zeros((0, 4)), [])
    np.testing.assert_array_equal(drawn, image.repeat(3, axis=0).repeat(3, axis=1))
    large = np.zeros((400, 500, 3), np.uint8)
    assert drawing.draw(large, [], []).shape == large.shape


def test_a_box_is_drawn_where_it_is_and_nothing_else_changes():
    before = GRAY.copy()
    drawn = drawing.draw(GRAY, [[40, 20, 80, 60]], [""], class_ids=[1])
    np.testing.assert_array_equal(GRAY, before)
    rows, columns = np.nonzero(near(drawn, drawing.COLORS[1]))
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (120, 240, 60, 180)
    changed = (drawn != 90).any(axis=-1)
    assert not changed[125:235, 65:175].any()  # inside
    changed[118:242, 58:182] = False
    assert not changed.any()  # outside


def test_a_box_stands_out_on_its_own_color():
    for color in drawing.COLORS:
        drawn = drawing.draw(np.full((50, 50, 3), color, np.uint8), [[10, 10, 40, 40]], [""], class_ids=[
            drawing.COLORS.index(color)])
        assert near(drawn, (0, 0, 0)).sum() > 100


@pytest.mark.parametrize("box", [
    [0, 0, 10, 10], [120, 120, 128, 128], [-30, -30, 300, 300], [5, 5, 5, 5], [200, 200, 300, 300]])
def test_boxes_and_labels_at_and_beyond_the_border(box):
    drawn = drawing.draw(GRAY, [box], ["a rather long name"], [0.5])
    assert drawn.shape == (384, 384, 3) and drawn.dtype == np.uint8
    ink = near(drawn, drawing.COLORS[0])
    assert ink.sum() > 500  # the label's ground, all inside
    assert near(drawn, (0, 0, 0)).sum() > 50  # its letters


def test_a_label_of_a_low_box_is_above_it_and_of_a_high_box_inside():
    low = drawing.draw(GRAY, [[60, 20, 100, 60]], ["name"])
    assert near(low, drawing.COLORS[0])[150:179].any()
    high = drawing.draw(GRAY, [[0, 20, 100, 60]], ["name"])
    assert near(high, drawing.COLORS[0])[2:14, 65:95].sum() > 100


def test_labels_scores_and_colors():
    boxes = [[60, 10, 100, 50], [60, 70, 100, 110]]
    same, scored = drawing.draw(GRAY, boxes, ["cat", "cat"]), drawing.draw(GRAY, boxes, ["cat", "cat"], [0.25, 0.75])
    assert (same != scored).any()
    assert not near(same, drawing.COLORS[1]).any()
    two = drawing.draw(GRAY, boxes, ["cat", "dog"])
    assert near(two, drawing.COLORS[0]).any() and near(two, drawing.COLORS[1]).any()
    far = drawing.draw(GRAY, boxes, ["cat", "dog"], class_ids=[3, 3 + len(drawing.COLORS)])
    assert near(far, drawing.COLORS[3]).any() and not near(far, drawing.COLORS[0]).any()
    assert (drawing.draw(GRAY, boxes, ["Ωж", ""]) != drawing.draw(GRAY, boxes, ["ab", ""])).any()


def test_colors_can_be_told_apart_by_color_blind_people():
    # Machado, Oliveira and Fernandes, 2009: linear RGB as seen without long, middle and short cones
    kinds = {
        "all": np.eye(3),
        "long": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "middle": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        "short": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]}
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])

    def lab(linear):
        x = to_xyz @ np.clip(linear, 0, 1) / [0.9505, 1, 1.089]
        x = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
        return np.array([116 * x[1] - 16, 500 * (x[0] - x[1]), 200 * (x[1] - x[2])])

    values = np.array(drawing.COLORS) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    for name, kind in kinds.items():
        seen = [lab(np.array(kind) @ color) for color in linear]
        least = min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))
        assert least > 15, name  # a difference of about 2 can be just seen


SIDE, HEIGHT, WIDTH = 64, 96, 128  # originals of 96 x 128 in a square of 64: scale 0.5, 48 rows used


class Model:
    """Answers with the truth of its one batch of `TARGETS`."""

    anchors = np.array([[0, 0, 16, 16], [8, 8, 40, 40], [20, 30, 44, 60]], np.float32)

    def detect(self, images):
        rows = images.shape[0]
        pad = [(0, rows - len(BOXES)), (0, 100 - BOXES.shape[1])]
        return {"boxes_yxyx": tf.constant(np.pad(BOXES, [*pad, (0, 0)])),
                "scores": tf.constant(np.pad(np.where(IDS >= 0, [[0.9, 0.2]], 0), pad).astype(np.float32)),
                "class_ids": tf.constant(np.pad(IDS, pad, constant_values=-1)), "count": tf.fill([rows], 2)}

    def propose(self, images):
        boxes = np.array([[2, 2, 20, 20], [30, 30, 40, 40], [0, 0, 0, 0]], np.float32)
        rows = images.shape[0]
        return tf.constant(np.tile(boxes, (rows, 1, 1))), tf.constant(np.tile(np.float32([0.5, 0.9, 0]), (rows, 1)))

    def pyramid_features(self, images):
        x = tf.cast(images, tf.float32)
        return [tf.concat([x, -x], -1)[:, ::4, ::4], tf.cast(tf.concat([x, -x], -1)[:, ::8, ::8], tf.bfloat16)]

    def matched_anchors(self, boxes_yxyx, class_ids):
        return tf.constant([[True, False, False]] * boxes_yxyx.shape[0])

    def embed(self, images, boxes_yxyx):
        return tf.cast(tf.concat([boxes_yxyx, boxes_yxyx[..., :2] * 10], -1), tf.bfloat16)


BOXES = np.array([[[2, 2, 20, 20], [24, 30, 44, 60]], [[4, 4, 32, 32], [0, 0, 0, 0]], [[8, 16, 16, 24], [0, 0, 0, 0]]],
                 np.float32)
IDS = np.array([[0, 1], [1, -1], [1, -1]], np.int32)


def splits():
    images = np.random.default_rng(0).integers(0, 60, (3, SIDE, SIDE, 3), dtype=np.uint8)
    images[:, HEIGHT // 2:] = 0
    images[1, 4:32, 4:32] = 200
    images[0, 24:44, 30:60] = 150
    none = np.zeros((3, 2), bool)
    targets = {
        "boxes_yxyx": BOXES, "class_ids": IDS, "is_crowd": none, "is_difficult": none, "image_id": np.array([7, 8, 9]),
        "scale": np.full(3, 0.5, np.float32), "height": np.full(3, HEIGHT), "width": np.full(3, WIDTH)}
    test = tf.data.Dataset.from_tensor_slices(({"image": images}, targets)).batch(4)
    return types.SimpleNamespace(test=test)


CONFIG = types.SimpleNamespace(batch_size=4, limit_steps=None, seed=0)
INFO = Info(class_names=["first", "second"])


def test_pictures_of_a_system_that_has_everything():
    made = pictures.pictures(Model(), splits(), CONFIG, INFO, count=2)
    assert set(made) == {"detections", "proposals", "anchors_matched", "feature_maps"}
    for name, values in made.items():
        assert values.dtype == np.uint8 and values.ndim == 4 and values.shape[3] == 3, name
        assert len(values) == 2, name
    enlarged = 384 // SIDE * np.array([HEIGHT // 2, WIDTH // 2])  # without the empty part of the square
    assert made["proposals"].shape[1:3] == tuple(enlarged)
    assert made["detections"].shape[1:3] == (2 * (enlarged[0] + 24), enlarged[1])


def test_detections_below_three_tenths_are_not_drawn():
    drawn = pictures.pictures(Model(), splits(), CONFIG, INFO)["detections"][0]
    upper, lower = np.split(drawn, 2)
    blue = drawing.COLORS[1]  # the second class: true, but found with a score of 0.2
    assert near(upper, blue)[24:].sum() > 300 and not near(lower, blue)[24:].any()
    assert near(lower, drawing.COLORS[0])[24:].sum() > 300


def test_proposals_that_cover_an_object_have_another_color():
    drawn = pictures.pictures(Model(), splits(), CONFIG, INFO)["proposals"]
    hit, other = drawing.COLORS[1], drawing.COLORS[0]
    assert near(drawn[0], hit)[12:120, 12:120].any() and not near(drawn[0], hit)[180:, 180:].any()
    assert near(drawn[0], other)[180:240, 180:240].any()
    assert not near(drawn[2], hit).any()  # and padding is not drawn
    assert not near(drawn[2], other)[:6, :6].any()


def test_only_matched_anchors_are_drawn():
    drawn = pictures.pictures(Model(), splits(), CONFIG, INFO)["anchors_matched"][1]
    rows, columns = np.nonzero(near(drawn, drawing.COLORS[1]))
    assert max(rows.max(), columns.max()) < 16 * 6
    rows, columns = np.nonzero(near(drawn, (255, 255, 255)))
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (24, 192, 24, 192)


def test_pictures_of_a_model_that_has_neither_proposals_nor_anchors_nor_features_of_boxes():
    class Plain(Model):
        propose = embed = matched_anchors = lambda self, *_: None

    rendered = pictures.render(Plain(), splits(), CONFIG, INFO, {})
    assert list(rendered.pictures) == ["detections", "feature_maps"] and len(rendered.pictures["detections"]) == 3
    assert list(rendered.activations) == ["pyramid_level_1", "pyramid_level_2"]
    assert rendered.embeddings == {}


def test_pictures_of_images_without_objects_or_detections():
    class Blind(Model):
        def detect(self, images):
            answer = super().detect(images)
            return answer | {"class_ids": tf.fill(answer["class_ids"].shape, -1)}

    empty = splits()
    empty.test = empty.test.map(lambda inputs, targets: (inputs, targets | {"class_ids": tf.fill((3, 2), -1)}))
    made = pictures.pictures(Blind(), empty, CONFIG, INFO)
    assert not near(made["detections"][0], drawing.COLORS[0]).any()
    assert pictures.embeddings(Blind(), empty, CONFIG, INFO) == {}


def test_embedding_keeps_vector_metadata_and_thumbnail_together():
    vectors, metadata, thumbnails = pictures.embeddings(Model(), splits(), CONFIG, INFO, side=16)["objects"]
    np.testing.assert_array_equal(vectors[:, :4], [BOXES[0, 0], BOXES[0, 1], BOXES[1, 0], BOXES[2, 0]])
    assert vectors.dtype == np.float32 and thumbnails.shape == (4, 16, 16, 3) and thumbnails.dtype == np.uint8
    assert [row["class"] for row in metadata] == ["first", "second", "second", "second"]
    assert [row["image"] for row in metadata] == [7, 7, 8, 9]
    assert [row["size"] for row in metadata] == ["medium", "medium", "medium", "small"]
    assert (thumbnails[2] == 200).all() and thumbnails[0].max() < 60
    wide = (thumbnails[1] == 150).all(axis=-1)  # 20 x 30 pixels, neither cut nor stretched
    assert wide[8].all() and wide[:, 8].sum() == pytest.approx(16 * 20 / 30, abs=2)
    assert [len(part) for part in pictures.embeddings(Model(), splits(), CONFIG, INFO, most=3)["objects"]] == [3, 3, 3]


def test_activations_are_of_levels_and_of_real_boxes():
    made = pictures.activations(Model(), splits())
    assert {name: value.shape for name, value in made.items()} == {
        "pyramid_level_1": (3, 16, 16, 6), "pyramid_level_2": (3, 8, 8, 6), "box_features": (4, 6)}
    assert all(value.dtype == np.float32 for value in made.values())
