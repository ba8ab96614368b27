"""YOLO's loss, SSD's default boxes and mining, and RetinaNet's two losses of the class scores, against plain arithmetic."""
import math

import numpy as np
import pytest
import tensorflow as tf

from apps.detection import ssd, yolo
from tests.layers import plain_boxes
from training import UserError
from training.app import App
from training.data.spec import Info, Spec

APP = App("detection")


def built(model, **settings):
    """Returns a compiled model of two classes for images of 64 pixels."""
    config = APP.config(model, image_size=64, **settings)
    return APP.build_model(config, Spec({}, {}, Info(class_names=["a", "b"])), steps=100)


def targets(*images):
    """Returns a batch of targets; an image is a list of (box, class id, whether it is ignored)."""
    room = max(map(len, images)) + 1  # at least one place is empty
    rows = [[*image, *[((0, 0, 0, 0), -1, False)] * (room - len(image))] for image in images]
    boxes, class_ids, ignore = (np.array([[each[part] for each in row] for row in rows]) for part in range(3))
    return {"boxes_yxyx": tf.constant(boxes, tf.float32), "class_ids": tf.constant(class_ids, tf.int32),
            "ignore": tf.constant(ignore, tf.bool)}


def pictures(count):
    return tf.constant(np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3)), tf.uint8)


# YOLO

SCENES = [
    [((2, 3, 30, 25), 0, False), ((40, 40, 60, 64), 1, False)],
    [((10, 10, 14, 15), 1, False), ((6, 4, 20, 24), 0, False)],  # both centers in one cell
    [((0, 0, 20, 20), 0, False), ((33, 2, 47, 63), 1, True)],  # an ignored one over all four cells of the third row
    [],
    [((60, 60, 64, 64), 0, False), ((0, 0, 64, 64), 1, False)],  # the last cell, and the center on an edge between cells
]


@pytest.fixture(scope="module")
def small_yolo():
    return built("yolo", cells=4, backbone="small", head_layers=1, head_filters=8)


class Predicting:
    """Takes the place of a network and predicts what it is given."""

    def __init__(self, outputs):
        self.outputs = outputs

    def __call__(self, images, training=False):
        return tf.constant(self.outputs, tf.float32), None


def yolo_losses(outputs, scenes, cells=4, side=64, predictors=2, classes=2):
    """Returns the losses of YOLO, cell by cell, as the paper states them, and which predictors are responsible."""
    total, chosen = dict(box=0.0, object=0.0, no_object=0.0, **{"class": 0.0}), set()
    for image, (grid, scene) in enumerate(zip(outputs.astype("float64"), scenes)):
        for row in range(cells):
            for column in range(cells):
                of_boxes, of_classes = grid[row, column][:5 * predictors].reshape(predictors, 5), grid[row, column][5 * predictors:]
                found = []
                for dy, dx, root_height, root_width, _ in of_boxes:
                    y, x = (row + dy) * side / cells, (column + dx) * side / cells
                    height, width = root_height ** 2 * side, root_width ** 2 * side
                    found.append([y - height / 2, x - width / 2, y + height / 2, x + width / 2])
                mine = [(box, class_id) for box, class_id, ignore in scene if not ignore and (row, column) == tuple(
                    min(cells - 1, int((box[axis] + box[axis + 2]) / 2 / (side / cells))) for axis in (0, 1))]
                cell = [row * side / cells, column * side / cells, (row + 1) * side / cells, (column + 1) * side / cells]
                is_covered = any(ignore and plain_boxes.shared(cell, box) > 0 for box, _, ignore in scene)
                responsible = None
                if mine:
                    box, class_id = mine[0]
                    overlaps = [plain_boxes.iou(np.array(each), np.array(box)) for each in found]
                    middle = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]]
                    errors = [sum((a - b) ** 2 for a, b in zip(
                        ((e[0] + e[2]) / 2, (e[1] + e[3]) / 2, e[2] - e[0], e[3] - e[1]), middle)) for e in found]
                    responsible = int(np.argmax(overlaps) if max(overlaps) > 0 else np.argmin(errors))
                    chosen.add((image, row, column, responsible, max(overlaps) > 0))
                    wanted = [middle[0] / (side / cells) - row, middle[1] / (side / cells) - column,
                              math.sqrt(middle[2] / side), math.sqrt(middle[3] / side)]
                    total["box"] += 5 * sum((a - b) ** 2 for a, b in zip(of_boxes[responsible][:4], wanted))
                    total["object"] += (of_boxes[responsible][4] - overlaps[responsible]) ** 2
                    total["class"] += sum((of_classes[k] - (k == class_id)) ** 2 for k in range(classes))
                total["no_object"] += sum(0.5 * of_boxes[j][4] ** 2 for j in range(predictors)
                                          if j != responsible and not is_covered)
    return {name: value / len(scenes) for name, value in total.items()}, chosen


def test_the_loss_of_yolo_is_that_of_the_paper(small_yolo, monkeypatch):
    random = np.random.default_rng(1)
    outputs = random.uniform(-0.2, 1.0, (len(SCENES), 4, 4, 12)).astype("float32")
    outputs[1, 0, 0, :10] = 0.01  # neither of its boxes overlaps the object, and the second one is nearer
    outputs[1, 0, 0, [5, 6]] = 0.1
    monkeypatch.setattr(small_yolo, "network", Predicting(outputs))
    expected, chosen = yolo_losses(outputs, SCENES)
    found = small_yolo.losses(None, targets(*SCENES), training=True)
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected, rel=1e-5)
    assert {(predictor, overlaps) for *_, predictor, overlaps in chosen} >= {(0, True), (1, True), (1, False)}
    assert sum(place[:3] == (1, 0, 0) for place in chosen) == 1  # one object for the cell of two


def test_perfect_predictions_cost_nothing_and_are_found(small_yolo, monkeypatch):
    scene = [((2, 3, 30, 25), 0, False), ((40, 44, 60, 64), 1, False)]
    outputs = np.zeros((1, 4, 4, 12), "float32")
    for (ymin, xmin, ymax, xmax), class_id, _ in scene:
        y, x = (ymin + ymax) / 32, (xmin + xmax) / 32
        outputs[0, int(y), int(x), 5:10] = [y % 1, x % 1, math.sqrt((ymax - ymin) / 64), math.sqrt((xmax - xmin) / 64), 1]
        outputs[0, int(y), int(x), 10 + class_id] = 1
    monkeypatch.setattr(small_yolo, "network", Predicting(outputs))
    assert sum(map(float, small_yolo.losses(None, targets(scene), training=True).values())) == pytest.approx(0, abs=1e-6)
    found = small_yolo.detect(None)
    assert found["count"] == 2 and found["scores"][0, :2].numpy() == pytest.approx([1, 1])
    order = np.argsort(found["class_ids"][0, :2])
    np.testing.assert_allclose(found["boxes_yxyx"].numpy()[0][order], [box for box, *_ in scene], atol=1e-4)


@pytest.mark.parametrize("settings, words", [
    (dict(cells=7), "--cells 7 does not fit --image-size 64: choose one of 16, 8, 4, 2, 1"),
    (dict(cells=64), "--cells 64 does not fit"), (dict(cells=100), "--cells 100 does not fit")])
def test_cells_that_do_not_fit_are_refused(settings, words):
    with pytest.raises(UserError, match=words) as refused:
        built("yolo", backbone="small", **settings)
    assert "\n" not in str(refused.value)
    with pytest.raises(UserError, match="choose a multiple of 32 as the --image-size"):
        yolo.YOLO(65, 2, cells=4)


@pytest.mark.parametrize("cells", [16, 4, 1])
def test_the_grid_has_the_cells_that_were_asked_for(cells):
    model = built("yolo", backbone="small", cells=cells, head_layers=1, head_filters=8)
    assert model.pyramid_features(pictures(1))[0].shape == (1, cells, cells, 8)
    assert model.embed(pictures(2), tf.zeros((2, 3, 4))).shape == (2, 3, 8)


# SSD

@pytest.fixture(scope="module")
def small_ssd():
    return built("ssd", backbone="small", extra_maps=1, extra_filters=8, min_scale=0.2, max_scale=0.6, anchor_ratios=(1.0, 2.0))


def test_default_boxes_are_those_of_equation_4(small_ssd):
    """Three maps of 8, 4 and 2 cells a side, whose scales are 0.2, 0.4 and 0.6; 0.8 would follow."""
    expected = []
    for cells, scale, following in ((8, 0.2, 0.4), (4, 0.4, 0.6), (2, 0.6, 0.8)):
        for row in range(cells):
            for column in range(cells):
                y, x = (row + 0.5) / cells, (column + 0.5) / cells
                for height, width in ((scale, scale), (scale * math.sqrt(2), scale / math.sqrt(2)), [math.sqrt(scale * following)] * 2):
                    expected.append([y - height / 2, x - width / 2, y + height / 2, x + width / 2])
    np.testing.assert_allclose(small_ssd.anchors, np.array(expected) * 64, rtol=1e-5, atol=1e-5)


def test_the_predictions_of_a_cell_belong_to_its_default_boxes(small_ssd):
    images = pictures(1)
    maps, (logits, offsets) = small_ssd.backbone(images), small_ssd.network(images)
    first = 0
    for cells, stride, x in zip((8, 4, 2), (8, 16, 32), maps):
        for flat, name in ((logits, "class_logits"), (offsets, "box_offsets")):
            grid = np.reshape(small_ssd.network.get_layer(f"{name}_{stride}")(x), (cells, cells, 3, -1))
            for row, column in ((0, 1), (cells - 1, 0)):
                place = first + (row * cells + column) * 3
                np.testing.assert_allclose(flat[0, place:place + 3], grid[row, column], rtol=1e-4, atol=1e-5)
                middles = (small_ssd.anchors[place:place + 3, :2] + small_ssd.anchors[place:place + 3, 2:]) / 2
                np.testing.assert_allclose(middles, [[(row + 0.5) * stride, (column + 0.5) * stride]] * 3, rtol=1e-5)
        first += cells * cells * 3
    assert first == len(small_ssd.anchors)


def test_the_loss_of_ssd_is_that_of_the_paper(small_ssd):
    scenes = [[((2, 3, 30, 25), 0, False), ((40, 40, 60, 62), 1, False)], [((0, 0, 3, 3), 1, False), ((20, 2, 60, 62), 0, True)], []]
    batch, images = targets(*scenes), pictures(3)
    logits, offsets = (np.asarray(x, "float64") for x in small_ssd.network(images, training=False))
    matches = small_ssd.matcher(small_ssd.anchors, batch["boxes_yxyx"], batch["class_ids"] >= 0, batch["ignore"]).numpy()
    class_error = box_error = 0.0
    for image, scene in enumerate(scenes):
        logs = logits[image] - np.log(np.exp(logits[image]).sum(axis=-1, keepdims=True))
        matched, background = np.flatnonzero(matches[image] >= 0), np.flatnonzero(matches[image] == -1)
        hardest = sorted(-logs[background, -1], reverse=True)[:3 * len(matched)]
        assert len(hardest) == 3 * len(matched)
        class_error += sum(hardest)
        for place in matched:
            (ymin, xmin, ymax, xmax), class_id, _ = scene[matches[image, place]]
            class_error -= logs[place, class_id]
            top, left, bottom, right = small_ssd.anchors[place].astype("float64")
            height, width = bottom - top, right - left
            wanted = [((ymin + ymax) / 2 - (top + bottom) / 2) / height / 0.1, ((xmin + xmax) / 2 - (left + right) / 2) / width / 0.1,
                      math.log((ymax - ymin) / height) / 0.2, math.log((xmax - xmin) / width) / 0.2]
            for off in np.abs(offsets[image, place] - wanted):
                box_error += 0.5 * off ** 2 if off < 1 else off - 0.5
    count = (matches >= 0).sum()
    assert (matches[0] == 0).any() and (matches[0] == 1).any() and (matches[1] == 0).any() and (matches[1] == -2).any()
    found = small_ssd.losses(images, batch, training=False)
    assert float(found["class"]) == pytest.approx(class_error / count, rel=1e-4)
    assert float(found["offsets"]) == pytest.approx(box_error / count, rel=1e-4)


@pytest.mark.parametrize("settings, words", [
    (dict(finest_stride=64), "--finest-stride 64 must be a stride of the backbone: 4, 8, 16"),
    (dict(extra_maps=3), "--extra-maps 3 must be at most 2 at --image-size 64"),
    (dict(min_scale=0.5, max_scale=0.5), "--max-scale 0.5 must be above --min-scale 0.5")])
def test_maps_and_scales_that_do_not_fit_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        built("ssd", backbone="small", **settings)


def test_the_coarsest_map_has_one_cell_at_least():
    assert [x.shape[1] for x in ssd.SSD(96, 2, backbone_kind="small", extra_maps=3, extra_filters=8).pyramid_features(
        np.zeros((1, 96, 96, 3), "uint8"))] == [12, 6, 3, 2, 1]


def test_one_map_alone_has_one_scale():
    assert ssd.default_scales(1, 0.2, 0.9) == pytest.approx([0.2, 0.9])


# all of them

@pytest.mark.parametrize("model, settings", [
    ("yolo", dict(cells=4, head_layers=1, head_filters=8)), ("ssd", dict(extra_filters=8)),
    ("retinanet", dict(pyramid_filters=8, head_layers=0, class_loss="cross_entropy"))])
def test_images_without_objects_or_with_ignored_ones_only_give_finite_losses_and_gradients(model, settings):
    made = built(model, backbone="small", **settings)
    with tf.GradientTape() as tape:
        found = made.losses(pictures(2), targets([], [((10, 10, 30, 30), 1, True)]), training=True)
        total = sum(found.values())
    assert all(np.isfinite(loss) for loss in found.values())
    gradients = tape.gradient(total, [variable.value for variable in made.trainable_variables])
    assert all(np.isfinite(gradient).all() for gradient in gradients if gradient is not None)


def test_the_class_loss_of_retinanet_is_focal_or_plain_cross_entropy():
    settings = dict(backbone="small", pyramid_filters=8, head_layers=0, extra_levels=0)
    batch, images = targets([((2, 3, 30, 25), 0, False)]), pictures(1)
    focal, plain = (built("retinanet", class_loss=kind, **settings) for kind in ("focal", "cross_entropy"))
    plain.set_weights(focal.get_weights())
    logits, _ = focal.head(focal.backbone(images, training=False), training=False)
    logits = np.asarray(logits, "float64")[0]
    matches = focal.matcher(focal.anchors, batch["boxes_yxyx"], batch["class_ids"] >= 0, batch["ignore"]).numpy()[0]
    labels = np.stack([matches >= 0, np.zeros_like(matches)], axis=-1)
    p_t = np.where(labels, 1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(logits)))
    counted = (matches != -2)[:, None] * -np.log(p_t)
    for model, error in ((focal, counted * np.where(labels, 0.25, 0.75) * (1 - p_t) ** 2), (plain, counted)):
        found = model.losses(images, batch, training=False)
        assert float(found["class"]) == pytest.approx(error.sum() / (matches >= 0).sum(), rel=1e-4)
