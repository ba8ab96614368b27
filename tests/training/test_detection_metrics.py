"""Figures of `training.vision.detection.metrics` against pycocotools, a plain oracle and cases worked out by hand."""
import contextlib
import fractions
import gc
import io
import types
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from training.data.spec import Info
from training.vision.detection import metrics

FIGURES = {"ap": 0, "ap50": 1, "ap75": 2, "ap_small": 3, "ap_medium": 4, "ap_large": 5, "ar100": 8}


def truth(boxes, class_ids, crowd=None, difficult=None):
    n = len(boxes)
    return {"boxes_yxyx": np.array(boxes, np.float64).reshape(n, 4), "class_ids": np.array(class_ids, int),
            "is_crowd": np.array(crowd if crowd is not None else [False] * n, bool),
            "is_difficult": np.array(difficult if difficult is not None else [False] * n, bool)}


def found(boxes, scores, class_ids):
    return {"boxes_yxyx": np.array(boxes, np.float64).reshape(len(scores), 4), "scores": np.array(scores, np.float64),
            "class_ids": np.array(class_ids, int)}


def pycocotools_figures(ground_truth, detections, class_names):
    """Returns (figures, ap by class) of the reference; without detections it gets an empty set past its loader."""
    coco, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    sets = []
    for images, score in ((ground_truth, False), (detections, True)):
        annotations = []
        for image, objects in enumerate(images):
            for i, (top, left, bottom, right) in enumerate(objects["boxes_yxyx"].tolist()):
                annotation = {
                    "id": len(annotations) + 1, "image_id": image, "category_id": int(objects["class_ids"][i]), "iscrowd": 0,
                    "bbox": [left, top, right - left, bottom - top], "area": (right - left) * (bottom - top)}
                if score:
                    annotation["score"] = float(objects["scores"][i])
                else:
                    annotation["iscrowd"] = int(objects["is_crowd"][i])
                    if objects["is_difficult"][i]:
                        annotation["area"] = -1.0
                annotations.append(annotation)
        loaded = coco.COCO()
        loaded.dataset = {"images": [{"id": i} for i in range(len(images))], "annotations": annotations,
                          "categories": [{"id": k, "name": name} for k, name in enumerate(class_names)]}
        with contextlib.redirect_stdout(io.StringIO()):
            loaded.createIndex()
        sets.append(loaded)
    with contextlib.redirect_stdout(io.StringIO()):
        reference = cocoeval.COCOeval(*sets, "bbox")
        reference.evaluate()
        reference.accumulate()
        reference.summarize()
    precision = reference.eval["precision"][:, :, :, 0, 2]
    by_class = {name: precision[:, :, k].mean() for k, name in enumerate(class_names) if precision[0, 0, k] > -1}
    return {name: reference.stats[place] for name, place in FIGURES.items()}, by_class


def random_case(random):
    """Returns ground truth, detections and class names: ties, crowds, difficult and empty images included."""
    classes, size = int(random.integers(1, 5)), random.choice([40, 200, 400])
    ground_truth, detections = [], []

    def boxes(n):
        corner = random.uniform(0, 0.7 * size, (n, 2))
        made = np.concatenate([corner, corner + random.uniform(0, 0.5 * size, (n, 2))], axis=1)
        return np.round(made) if random.random() < 0.5 else made

    for _ in range(int(random.integers(1, 8))):
        n, m = int(random.integers(0, 7)), int(random.integers(0, 12))
        real = truth(boxes(n), random.integers(0, classes, n), random.random(n) < 0.2, random.random(n) < 0.2)
        guess, class_ids = boxes(m), random.integers(0, classes, m)
        if n:
            source, near = random.integers(0, n, m), random.random(m) < 0.7
            moved = real["boxes_yxyx"][source] + random.normal(0, random.choice([0, 1, 4]), (m, 4))
            guess = np.where(near[:, None], moved, guess)
            guess[:, 2:] = np.maximum(guess[:, 2:], guess[:, :2])
            class_ids = np.where(near, real["class_ids"][source], class_ids)
        ground_truth.append(real)
        detections.append(found(guess, np.round(random.random(m), int(random.choice([1, 3]))), class_ids))
    return ground_truth, detections, [f"class {k}" for k in range(classes)]


def assert_equal_to_pycocotools(ground_truth, detections, class_names):
    ours = metrics.coco(ground_truth, detections, class_names)
    reference, by_class = pycocotools_figures(ground_truth, detections, class_names)
    assert {name: ours[name] for name in FIGURES} == pytest.approx(reference, abs=1e-6)
    assert ours["per_class"] == pytest.approx(by_class, abs=1e-6)
    return ours


@pytest.mark.parametrize("seed", range(4))
def test_coco_equals_pycocotools_on_random_cases(seed):
    random = np.random.default_rng(seed)
    measured = 0
    for _ in range(60):
        measured += 0 < assert_equal_to_pycocotools(*random_case(random))["ap"] < 1
    assert measured > 30  # most cases are neither trivial nor empty


BOX = [10, 10, 30, 30]
DEGENERATE = {
    "no objects, no detections": ([truth([], [])], [found([], [], [])]),
    "no objects": ([truth([], [])], [found([BOX], [0.9], [0])]),
    "no detections": ([truth([BOX], [0])], [found([], [], [])]),
    "an image without objects": ([truth([], []), truth([BOX], [0])],
                                 [found([BOX], [0.9], [0]), found([BOX], [0.8], [0])]),
    "a class without objects": ([truth([BOX], [0])], [found([BOX, BOX], [0.9, 0.95], [0, 1])]),
    "a class without detections": ([truth([BOX, BOX], [0, 1])], [found([BOX], [0.9], [0])]),
    "all scores tied": ([truth([BOX], [0]), truth([BOX], [0])],
                        [found([[0, 0, 5, 5], BOX, BOX], [0.5] * 3, [0] * 3),
                         found([BOX, [50, 50, 60, 60]], [0.5] * 2, [0] * 2)]),
    "one object found many times": ([truth([BOX], [0])], [found([BOX] * 5, [0.9] * 5, [0] * 5)]),
    "a crowd alone": ([truth([BOX], [0], crowd=[True])], [found([BOX, [12, 12, 20, 20]], [0.9, 0.8], [0, 0])]),
    "a crowd and an object": ([truth([[0, 0, 90, 90], BOX], [0, 0], crowd=[True, False])],
                              [found([[40, 40, 60, 60], BOX, [62, 62, 80, 80]], [0.9, 0.8, 0.7], [0, 0, 0])]),
    "a difficult object alone": ([truth([BOX], [0], difficult=[True])], [found([BOX], [0.9], [0])]),
    "boxes without area": ([truth([[5, 5, 5, 5], BOX], [0, 0])], [found([[5, 5, 5, 5], BOX], [0.9, 0.8], [0, 0])]),
    "exactly on a threshold": ([truth([[0, 0, 10, 10]], [0])], [found([[0, 0, 10, 5]], [0.9], [0])]),
    "borders of the ranges of areas": ([truth([[0, 0, 32, 32], [100, 100, 196, 196]], [0, 0])],
                                       [found([[0, 0, 32, 32], [100, 100, 196, 196]], [0.9, 0.8], [0, 0])]),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_coco_equals_pycocotools_on_degenerate_cases(name):
    assert_equal_to_pycocotools(*DEGENERATE[name], ["a", "b"])


def test_coco_counts_a_hundred_detections_of_an_image():
    guesses = np.random.default_rng(0).uniform(0, 50, (150, 2))
    guesses = np.concatenate([guesses, guesses + 20], axis=1)
    case = ([truth(guesses[:120], [0] * 120)], [found(guesses, np.linspace(1, 0, 150), [0] * 150)])
    assert assert_equal_to_pycocotools(*case, ["a"])["ar100"] == pytest.approx(100 / 120)


def test_coco_says_zero_where_nothing_was_detected_and_minus_one_where_nothing_was_there():
    nothing = metrics.coco([truth([BOX], [0])], [found([], [], [])], ["a", "b"])
    assert (nothing["ap"], nothing["ap50"], nothing["ar100"], nothing["per_class"]) == (0, 0, 0, {"a": 0})
    assert nothing["ap_large"] == -1
    empty = metrics.coco([truth([], [])], [found([BOX], [0.9], [0])], ["a"])
    assert (empty["ap"], empty["per_class"]) == (-1, {})


def test_coco_ignores_difficult_objects():
    objects = truth([BOX, [50, 50, 80, 80]], [0, 0], difficult=[False, True])
    assert metrics.coco([objects], [found([BOX], [0.5], [0])], ["a"])["ap"] == 1  # no miss
    both = found([BOX, [50, 50, 80, 80]], [0.5, 0.9], [0, 0])
    assert metrics.coco([objects], [both], ["a"])["ap"] == 1  # no false alarm


def test_coco_prints_nothing(capsys):
    metrics.coco(*DEGENERATE["all scores tied"], ["a", "b"])
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == ""


def test_coco_refuses_lists_of_different_length():
    with pytest.raises(ValueError):
        metrics.coco([truth([BOX], [0])], [], ["a"])


def voc_oracle(ground_truth, detections, eleven_point, threshold=0.5):
    """VOC's mean average precision, spelled out in fractions for one class after the other."""
    aps = []
    for k in {int(c) for image in ground_truth for c in image["class_ids"]}:
        ranked = sorted(((-score, image, row) for image, guesses in enumerate(detections)
                         for row, (score, c) in enumerate(zip(guesses["scores"], guesses["class_ids"])) if c == k))
        flags = [zip(image["class_ids"], image["is_crowd"], image["is_difficult"]) for image in ground_truth]
        positives = sum(1 for image in flags for c, crowd, difficult in image if c == k and not crowd and not difficult)
        if not positives:
            continue
        claimed, curve, hits, misses = set(), [], 0, 0
        for _, image, row in ranked:
            top, left, bottom, right = detections[image]["boxes_yxyx"][row]
            best, best_overlap = None, -1.0
            for i, (y0, x0, y1, x1) in enumerate(ground_truth[image]["boxes_yxyx"]):
                if ground_truth[image]["class_ids"][i] != k:
                    continue
                shared = max(0, min(bottom, y1) - max(top, y0)) * max(0, min(right, x1) - max(left, x0))
                union = (bottom - top) * (right - left) + (y1 - y0) * (x1 - x0) - shared
                overlap = shared / union if union > 0 else 0.0
                if overlap > best_overlap:
                    best, best_overlap = i, overlap
            if best is None or best_overlap < threshold:
                misses += 1
            elif ground_truth[image]["is_crowd"][best] or ground_truth[image]["is_difficult"][best]:
                continue
            elif (image, best) in claimed:
                misses += 1
            else:
                claimed.add((image, best))
                hits += 1
            curve.append((fractions.Fraction(hits, positives), fractions.Fraction(hits, hits + misses)))
        if eleven_point:
            points = [max((p for r, p in curve if r >= fractions.Fraction(step, 10)), default=0) for step in range(11)]
            aps.append(float(sum(points) / 11))
        else:
            recalls = sorted({r for r, _ in curve if r > 0})
            area, before = fractions.Fraction(0), fractions.Fraction(0)
            for recall in recalls:
                area += (recall - before) * max(p for r, p in curve if r >= recall)
                before = recall
            aps.append(float(area))
    return sum(aps) / len(aps) if aps else -1.0


@pytest.mark.parametrize("eleven_point", [False, True])
def test_voc_equals_a_plain_oracle(eleven_point):
    random = np.random.default_rng(5)
    for _ in range(150):
        ground_truth, detections, _ = random_case(random)
        expected = voc_oracle(ground_truth, detections, eleven_point)
        assert metrics.voc(ground_truth, detections, eleven_point=eleven_point) == pytest.approx(expected, abs=1e-9)


def test_voc_by_hand():
    # ranked: hit, miss, hit, of three objects: precision 1, 1/2, 2/3 at recall 1/3, 1/3, 2/3
    objects = truth([[0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]], [0, 0, 0])
    guesses = found([[0, 0, 10, 10], [70, 70, 80, 80], [20, 20, 30, 30]], [0.9, 0.8, 0.7], [0, 0, 0])
    assert metrics.voc([objects], [guesses]) == pytest.approx((1 + 2 / 3) / 3)
    assert metrics.voc([objects], [guesses], eleven_point=True) == pytest.approx((4 * 1 + 3 * 2 / 3) / 11)


def test_voc_reaches_a_recall_of_three_tenths():
    # 3 of 10 objects found and nothing else: precision 1 at recall 0, 0.1, 0.2 and 0.3
    objects = truth([[20 * i, 0, 20 * i + 10, 10] for i in range(10)], [0] * 10)
    guesses = found(objects["boxes_yxyx"][:3], [0.9, 0.8, 0.7], [0, 0, 0])
    assert metrics.voc([objects], [guesses], eleven_point=True) == pytest.approx(4 / 11)


def test_voc_threshold_and_difficult_objects():
    objects = truth([[0, 0, 10, 10], [50, 50, 80, 80]], [0, 0], difficult=[False, True])
    half = found([[0, 0, 10, 5], [50, 50, 80, 80], [50, 50, 80, 80]], [0.5, 0.9, 0.8], [0, 0, 0])
    assert metrics.voc([objects], [half]) == 1  # IoU 0.5 counts; what finds a difficult object is no false alarm
    assert metrics.voc([objects], [half], iou=0.51) == 0
    assert metrics.voc([truth([BOX], [0], difficult=[True])], [found([], [], [])]) == -1


def test_proposal_recall_by_hand():
    objects = truth([[0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50], [60, 60, 70, 70]], [0, 1, 0, 1],
                    crowd=[False, False, False, True])
    proposals = {"boxes_yxyx": np.array([[20, 20, 30, 30], [0, 0, 10, 5], [90, 90, 99, 99]]),
                 "scores": np.array([0.2, 0.9, 0.5])}
    assert metrics.proposal_recall([objects], [proposals], at=(1, 2, 3)) == pytest.approx(
        {"recall_1": 1 / 3, "recall_2": 1 / 3, "recall_3": 2 / 3})
    assert metrics.proposal_recall([truth([], [])], [proposals], at=(1,)) == {"recall_1": -1}


def test_proposal_recall_equals_counting():
    random = np.random.default_rng(1)
    ground_truth, detections, _ = random_case(random)
    proposals = [{"boxes_yxyx": image["boxes_yxyx"], "scores": image["scores"]} for image in detections]
    covered = total = 0
    for objects, guesses in zip(ground_truth, proposals):
        best = sorted(range(len(guesses["scores"])), key=lambda i: -guesses["scores"][i])[:4]
        for box, crowd, difficult in zip(objects["boxes_yxyx"], objects["is_crowd"], objects["is_difficult"]):
            if not crowd and not difficult:
                total += 1
                covered += any(metrics.intersection_over_union(box[None], guesses["boxes_yxyx"][[i]])[0, 0] >= 0.5
                               for i in best)
    assert 0 < covered < total
    assert metrics.proposal_recall(ground_truth, proposals, at=(4,))["recall_4"] == pytest.approx(covered / total)


def test_resampling_equals_evaluating_the_drawn_images():
    random = np.random.default_rng(2)
    for _ in range(20):
        ground_truth, detections, names = random_case(random)
        figures = metrics.resampler(ground_truth, detections, names)
        for drawn in (range(len(ground_truth)), random.integers(len(ground_truth), size=len(ground_truth))):
            expected = metrics.coco([ground_truth[i] for i in drawn], [detections[i] for i in drawn], names)
            given = figures(drawn)
            assert given["per_class"] == pytest.approx(expected["per_class"], abs=1e-12)
            assert {n: given[n] for n in ("ap", "ap50", "ar100")} == pytest.approx(
                {n: expected[n] for n in ("ap", "ap50", "ar100")}, abs=1e-12)


def test_intervals_hold_the_figure_and_narrow_with_more_images():
    random = np.random.default_rng(3)
    ground_truth, detections = [], []
    for _ in range(100):
        hit = random.random() < 0.6
        ground_truth.append(truth([BOX], [0]))
        detections.append(found([BOX if hit else [50, 50, 60, 60]], [random.random()], [0]))
    whole = metrics.coco(ground_truth, detections, ["a"])
    few = metrics.intervals(ground_truth[:20], detections[:20], ["a"], 200)
    many = metrics.intervals(ground_truth, detections, ["a"], 200)
    assert many["ap50"][0] < whole["ap50"] < many["ap50"][1]
    assert many["ap"][1] - many["ap"][0] < few["ap"][1] - few["ap"][0]
    assert many == metrics.intervals(ground_truth, detections, ["a"], 200)
    assert metrics.intervals([truth([], [])], [found([], [], [])], ["a"], 5) == {"ap": [-1, -1], "ap50": [-1, -1]}


class Reader(keras.Model):
    """A detector that reads its answer from the image: pixels hold box, class and a tenth of the score."""

    def __init__(self):
        super().__init__()
        self.traces = 0

    def propose(self, images):
        return None

    def detect(self, images):
        self.traces += 1
        first = tf.cast(images[:, 0, :6, 0], tf.float32)  # (batch, box, class, score)
        rest = tf.zeros_like(first[:, 0])
        pad = [[0, 0], [0, 98]]
        return {
            "boxes_yxyx": tf.pad(tf.stack([first[:, :4], first[:, :4] * float("nan")], 1), [[0, 0], [0, 98], [0, 0]]),
            "scores": tf.pad(tf.stack([first[:, 5] / 10, rest + 1], 1), pad),
            "class_ids": tf.pad(tf.cast(tf.stack([first[:, 4], rest], 1), tf.int32), pad, constant_values=-1),
            "count": tf.cast(rest + 2, tf.int32)}


class Proposer(Reader):
    def propose(self, images):
        box = tf.cast(images[:, 0, :4, 0], tf.float32)[:, None]
        return tf.concat([tf.zeros_like(box), box], 1), tf.tile([[0.0, 1.0]], [tf.shape(box)[0], 1])


def batches_of(images=10, batch_size=4, side=64, scale=0.5):
    """Returns batches whose images hold the right answer, in a square half as large as the originals of 128 x 100."""
    random = np.random.default_rng(0)
    boxes = random.integers(0, 20, (images, 4))
    boxes[:, 2:] += boxes[:, :2] + 3
    class_ids = np.arange(images) % 2
    pixels = np.zeros((images, side, side, 3), np.uint8)
    pixels[:, 0, :6, 0] = np.concatenate([boxes, class_ids[:, None], np.full((images, 1), 9)], axis=1)
    padding = np.zeros((images, 2), bool)
    targets = {
        "boxes_yxyx": np.pad(boxes[:, None].astype(np.float32), [(0, 0), (0, 1), (0, 0)]),
        "class_ids": np.stack([class_ids, np.full(images, -1)], 1).astype(np.int32),
        "is_crowd": padding, "is_difficult": padding, "image_id": np.arange(images),
        "scale": np.full(images, scale, np.float32), "height": np.full(images, 128), "width": np.full(images, 100)}
    return tf.data.Dataset.from_tensor_slices(({"image": pixels}, targets)).batch(batch_size)


def config(**changes):
    return types.SimpleNamespace(**{"batch_size": 4, "limit_steps": None, "seed": 0} | changes)


def test_evaluate_counts_every_image_once_and_traces_once():
    model = Reader()
    for _ in range(2):
        found = metrics.evaluate(model, batches_of(), config(), Info(class_names=["a", "b"]))
    assert found["ap"] == found["voc_ap50"] == 1  # padding is no detection and no object
    assert model.traces == 1
    assert "recall_50" not in found and "intervals" not in found


def test_evaluate_measures_proposals_and_intervals():
    found = metrics.evaluate(Proposer(), batches_of(), config(), Info(class_names=["a", "b"]), resamples=10)
    assert found["recall_50"] == found["recall_300"] == 1
    assert found["intervals"] == {"ap": [1, 1], "ap50": [1, 1]}
    without = metrics.evaluate(Proposer(), batches_of(), config(), Info(class_names=["a", "b"]), validating=True)
    assert "recall_50" not in without


def test_detect_answers_in_pixels_of_the_original_and_inside_of_it():
    batches = batches_of(images=3, batch_size=2)
    ground_truth, detections, _ = metrics.detect(Reader(), batches, config(batch_size=2))
    assert len(ground_truth) == len(detections) == 3
    for inputs, targets in batches.unbatch().batch(1):
        row = int(targets["image_id"][0])
        expected = np.clip(inputs["image"][0, 0, :4, 0].numpy() / 0.5, 0, [128, 100, 128, 100])
        np.testing.assert_array_equal(ground_truth[row]["boxes_yxyx"], [expected])
        np.testing.assert_array_equal(detections[row]["boxes_yxyx"], [expected])  # the one that is no number is dropped
        assert detections[row]["scores"] == pytest.approx([0.9])
        assert ground_truth[row]["class_ids"] == detections[row]["class_ids"] == row % 2
    beyond = metrics.detect(Reader(), batches_of(images=1, scale=0.01), config())[1][0]["boxes_yxyx"]
    assert beyond[0, 2:].tolist() == [128, 100]


def test_evaluate_stops_at_limit_steps():
    assert len(metrics.detect(Reader(), batches_of(), config(limit_steps=2))[0]) == 8


def test_a_model_is_not_kept_alive():
    model = Reader()
    metrics.detect(model, batches_of(4), config())
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None


def test_long_detection_says_how_far_it_is(capsys):
    assert list(metrics._spoken(iter("abc"), 3, interval=0.0)) == ["a", "b", "c"]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[1].startswith("detecting: batch 2 of 3, ") and lines[1].endswith(" s left")


def test_table_is_plain_text_without_a_terminal(capsys):
    found = metrics.coco(*DEGENERATE["a class without detections"], ["first", "second"])
    found["intervals"] = {"ap": [0.25, 0.75]}
    metrics.table(found)
    text = capsys.readouterr().out
    assert "\x1b" not in text
    rows = [line.split() for line in text.splitlines()]
    for row in (["first", "1.000", "1.000"], ["second", "0.000", "0.000"], ["all", "0.500", "0.500"]):
        assert row in rows
    assert ["ap", "0.500", "0.250", "to", "0.750"] in rows
    assert ["ap_large", "-"] in rows
