"""Evaluation of detections: COCO and VOC average precision, recall of proposals, bootstrap intervals.

Everything here is plain numpy in pixels of the original image, as float64:

    ground_truth: list of one dict per image
        {"boxes_yxyx": (objects, 4), "class_ids": (objects,), "is_crowd": (objects,), "is_difficult": (objects,)}
        (both flags are optional and default to false)
    detections:   list of one dict per image, in the same order
        {"boxes_yxyx": (detections, 4), "scores": (detections,), "class_ids": (detections,)}

With instance masks, both also have "masks": a list of COCO's run-length encodings in the size of the image. In the ground truth
it holds None for an object without a mask, which is then treated like a difficult one.

Boxes are continuous coordinates: width = right - left, without VOC's "+ 1".
A metric with nothing to measure, such as no objects of a size, is -1, as in COCO's own code.
"""
import itertools
import math
import time

import numpy as np
import rich.console
import rich.table
import rich.text
import tensorflow as tf
from faster_coco_eval import COCO
from faster_coco_eval.core.faster_eval_api import COCOeval_faster

from training import bootstrap
from training.engine import graphs
from training.engine.names import one_line
from training.vision.detection import masks
from training.vision.detection.settings import MAX_DETECTIONS

VALIDATION_METRICS = ("ap", "ap50", "ap75")
"""metrics that are shown after each epoch"""
NOTHING = -1.0
"""COCO's value of a metric without any object to measure"""
_COLUMNS = {"ap": "per_class", "ap50": "per_class_ap50", "mask_ap": "mask_per_class", "mask_ap50": "mask_per_class_ap50"}
"""columns of the table of classes, and the metrics that hold their values by class"""


def coco(ground_truth, detections, class_names, kind="bbox"):
    """Returns COCO's average precision and recall: ap, ap50, ap75, ap_small, ap_medium, ap_large, ar100, per class.

    kind: "bbox" compares boxes, "segm" masks

    The values are those of pycocotools, except that they are 0 without any detection, for which its code raises an error. A
    class without objects is excluded from the means and from `per_class`, `per_class_ap50`. Crowds are treated as in COCO: a
    detection that overlaps one, relative to its own area, is neither hit nor miss. A difficult object, which COCO does not
    have, is treated as outside of every area range: its detection, by ordinary IoU, is neither hit nor miss.

    Source: Lin et al., 2014, "Microsoft COCO", and cocodataset.org/#detection-eval.
    """
    evaluation = _matched(ground_truth, detections, class_names, kind)
    evaluation.accumulate()
    return _figures(evaluation, class_names)


def voc(ground_truth, detections, eleven_point=False, iou=0.5):
    """Returns VOC's average precision, averaged over the classes; -1 without any object.

    eleven_point: mean of the best precision at recall >= 0, 0.1 ... 1 (VOC 2007), else the area under the monotone envelope of
                  precision over recall (VOC 2010 and later)

    A difficult (or crowd) object is ignored: neither its detection nor its absence counts. Box coordinates are continuous,
    without the development kit's "+ 1".

    Source: Everingham et al., 2010, "The PASCAL Visual Object Classes (VOC) Challenge", sections 4.1 and 4.2.
    """
    classes = sorted({int(c) for image in ground_truth for c in np.asarray(image["class_ids"])[~_ignored(image)]})
    aps = [_voc_class(ground_truth, detections, c, eleven_point, iou) for c in classes]
    return float(np.mean(aps)) if aps else NOTHING


def proposal_recall(ground_truth, proposals, at=(50, 100, 300), iou=0.5):
    """Returns {"recall_50": ...}: the fraction of objects that one of the best n proposals of an image covers.

    proposals: list of {"boxes_yxyx": (n, 4), "scores": (n,)} per image, any order. Classes are ignored, and crowds and
               difficult objects do not count. The value is -1 without any object.
    """
    found = {n: 0 for n in at}
    total = 0
    for truth, proposal in zip(ground_truth, proposals, strict=True):
        boxes = _boxes(truth)[~_ignored(truth)]
        order = np.argsort(-np.asarray(proposal["scores"], np.float64), kind="stable")
        hits = intersection_over_union(boxes, _boxes(proposal)[order]) >= iou  # (objects, proposals)
        total += len(boxes)
        for n in at:
            found[n] += int(hits[:, :n].any(axis=1).sum())
    return {f"recall_{n}": found[n] / total if total else NOTHING for n in at}


def evaluate(model, batches, config, info, *, resamples=0, validating=False):
    """Returns the metrics of `model.detect` over a validation or test set of batches.

    Keys: those of `coco`, `voc_ap50` (all-point), `voc07_ap50` (11-point), `recall_50`, `recall_100`, `recall_300` if the
    model proposes regions and `validating` is false, and with `resamples` above 0 `intervals`: {"ap": [low, high], "ap50":
    ...}, the 95 % percentile interval over this number of bootstrap samples of the images.
    """
    ground_truth, detections, proposed = detect(model, batches, config, proposals=not validating)
    names = info.class_names
    metrics = coco(ground_truth, detections, names)
    metrics["voc_ap50"] = voc(ground_truth, detections)
    metrics["voc07_ap50"] = voc(ground_truth, detections, eleven_point=True)
    if proposed is not None:
        metrics |= proposal_recall(ground_truth, proposed)
    if resamples:
        metrics["intervals"] = intervals(ground_truth, detections, names, resamples, config.seed)
    return metrics


def detect(model, batches, config, *, proposals=False):
    """Runs the model over `batches` and returns (ground_truth, detections, proposals or None).

    The last batch is padded to the size of the others, so all batches and later calls share one trace.
    """
    call = graphs.of_model(model, ("detect", proposals), lambda model: _graph(model, proposals))
    ground_truth, detections, proposed = [], [], []
    for inputs, targets in _spoken(itertools.islice(batches, config.limit_steps), _length(batches, config)):
        count = inputs["image"].shape[0]
        missing = max(0, config.batch_size - count)
        outputs = call(*(tf.pad(part, [[0, missing]] + [[0, 0]] * (part.shape.rank - 1)) if missing else part
                         for part in inputs.values()))
        outputs = {name: value.numpy() for name, value in outputs.items()}
        targets = {name: value.numpy() for name, value in targets.items()}
        for row in range(count):
            height, width, scale = (float(targets[name][row]) for name in ("height", "width", "scale"))
            real = targets["class_ids"][row] >= 0
            ground_truth.append({
                "image_id": int(targets["image_id"][row]), "height": height, "width": width,
                "boxes_yxyx": _original(targets["boxes_yxyx"][row][real], scale, height, width),
                "class_ids": targets["class_ids"][row][real],
                "is_crowd": targets["is_crowd"][row][real],
                "is_difficult": targets["is_difficult"][row][real]})
            size = int(height), int(width)
            if "mask_corners" in targets:
                stored = zip(targets["masks"][row][real], targets["mask_corners"][row][real])
                ground_truth[-1]["masks"] = [masks.run_lengths(masks.opened(file, corner, *size)) if file else None
                                             for file, corner in stored]
            boxes, scores = outputs["boxes_yxyx"][row], outputs["scores"][row]
            real = (outputs["class_ids"][row] >= 0) & np.isfinite(scores) & np.isfinite(boxes).all(axis=-1)
            detections.append({
                "boxes_yxyx": _original(boxes[real], scale, height, width),
                "scores": scores[real].astype(np.float64),
                "class_ids": outputs["class_ids"][row][real]})
            if "masks" in outputs:  # of the whole boxes, which may extend into the rest of the square
                detections[-1]["masks"] = [masks.run_lengths(masks.pasted(mask, box / scale, *size))
                                           for mask, box in zip(outputs["masks"][row][real], boxes[real])]
            if "proposals" in outputs:
                boxes = np.nan_to_num(outputs["proposals"][row])
                proposed.append({
                    "boxes_yxyx": _original(boxes, scale, height, width),
                    "scores": outputs["proposal_scores"][row].astype(np.float64)})
    return ground_truth, detections, proposed or None


def intervals(ground_truth, detections, class_names, resamples, seed=0, kind="bbox"):
    """Returns {"ap": [low, high], "ap50": [low, high]}, the 95 % bootstrap intervals over images; `kind` as in `coco`.

    If no sample contains an object, the interval is -1 to -1.
    """
    figures_of = resampler(ground_truth, detections, class_names, kind)

    def statistics(rows):
        figures = figures_of(rows)
        is_empty = figures["ap"] == NOTHING  # a sample may hold no object
        return {name: math.nan if is_empty else figures[name] for name in ("ap", "ap50")}

    nothing = {"ap": [NOTHING] * 2, "ap50": [NOTHING] * 2}
    return nothing | bootstrap.intervals(statistics, len(ground_truth), resamples, seed)


def resampler(ground_truth, detections, class_names, kind="bbox"):
    """Returns a function of image numbers with the result of `coco` for these images, without the values by area.

    Detections are matched to objects once; each sample only sorts and accumulates them.
    """
    evaluation = _matched(ground_truth, detections, class_names, kind, all_areas=False)
    matches = evaluation._evalImgs_cpp  # one for each class and image, all images of the first class first
    images = len(ground_truth)

    def figures(drawn):
        evaluation._evalImgs_cpp = [matches[k * images + i] for k in range(len(class_names)) for i in drawn]
        evaluation._paramsEval.imgIds = list(range(len(drawn)))
        evaluation.accumulate()
        return _figures(evaluation, class_names)

    return figures


def table(metrics):
    """Prints the metrics and a row for each class, as plain text unless the output is a terminal."""
    console = rich.console.Console(highlight=False)
    classes = rich.table.Table(box=_box(console))
    classes.add_column("class")
    columns = {name: key for name, key in _COLUMNS.items() if key in metrics}
    for name in columns:
        classes.add_column(name, justify="right")
    for name in metrics["per_class"]:
        values = (metrics[key].get(name, NOTHING) for key in columns.values())
        classes.add_row(rich.text.Text(one_line(name)), *map(_figure, values))
    classes.add_section()
    classes.add_row("all", *(_figure(metrics[name]) for name in columns))
    others = rich.table.Table(box=_box(console))
    others.add_column("metric")
    others.add_column("value", justify="right")
    intervals = metrics.get("intervals", {})
    if intervals:
        others.add_column("95 % interval", justify="right")
    for name, value in metrics.items():
        if isinstance(value, float):
            cell = ["{:.3f} to {:.3f}".format(*intervals[name]) if name in intervals else ""] if intervals else []
            others.add_row(name, _figure(value), *cell)
    console.print(classes)
    console.print(others)


def intersection_over_union(first, second):
    """Returns the intersection over union (n, m) of boxes (n, 4) and (m, 4), yxyx; 0 for two empty boxes."""
    top_left = np.maximum(first[:, None, :2], second[None, :, :2])
    bottom_right = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.prod(np.maximum(bottom_right - top_left, 0), axis=-1)
    union = _area(first)[:, None] + _area(second)[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _area(boxes_yxyx):
    return np.prod(boxes_yxyx[:, 2:] - boxes_yxyx[:, :2], axis=-1)


def _boxes(image):
    return np.asarray(image["boxes_yxyx"], np.float64).reshape(-1, 4)


def _flags(image, name):
    return np.asarray(image.get(name, np.zeros(len(image["class_ids"]))), bool)


def _ignored(image):
    return _flags(image, "is_crowd") | _flags(image, "is_difficult")


def _length(batches, config):
    """Returns how many batches will be taken, or None."""
    length = len(batches) if isinstance(batches, list) else int(batches.cardinality())
    lengths = [n for n in (length, config.limit_steps) if n is not None and n >= 0]
    return min(lengths, default=None)


def _spoken(batches, length, interval=10.0):
    """Yields the batches, and says every `interval` seconds how many are done and how long the others will take."""
    started = spoken = time.perf_counter()
    for done, batch in enumerate(batches):
        now = time.perf_counter()
        if done and now - spoken >= interval:
            left = f" of {length}, {(now - started) / done * (length - done):.0f} s left" if length else ""
            print(f"detecting: batch {done}{left}", flush=True)
            spoken = now
        yield batch


def _original(boxes_yxyx, scale, height, width):
    """Turns boxes of the square image into ones of the original, which the square holds at its top left."""
    return np.clip(boxes_yxyx.astype(np.float64) / scale, 0, [height, width, height, width])


def _matched(ground_truth, detections, class_names, kind, all_areas=True):
    """Returns faster-coco-eval's evaluation with every image's detections matched to its objects."""
    truth, found = [], []
    for image, (objects, guesses) in enumerate(zip(ground_truth, detections, strict=True)):
        shapes, areas = _shapes(objects, kind)
        areas = np.where(_flags(objects, "is_difficult"), -1.0, areas)  # -1: outside of every range
        for shape, class_id, crowd, area in zip(shapes, objects["class_ids"], _flags(objects, "is_crowd"), areas):
            truth.append({"id": len(truth) + 1, "image_id": image, "category_id": int(class_id), **shape,
                          "area": float(area), "iscrowd": int(crowd)})
        shapes, areas = _shapes(guesses, kind)
        for shape, class_id, score, area in zip(shapes, guesses["class_ids"], guesses["scores"], areas):
            found.append({"id": len(found) + 1, "image_id": image, "category_id": int(class_id), **shape,
                          "area": float(area), "iscrowd": 0, "score": float(score)})
    images = [{"id": image} | dict(zip(("height", "width"), _size(objects))) for image, objects in enumerate(ground_truth)]
    categories = [{"id": k, "name": name} for k, name in enumerate(class_names)]
    evaluation = COCOeval_faster(
        COCO({"images": images, "categories": categories, "annotations": truth}, print_function=_silent),
        COCO({"images": images, "categories": categories, "annotations": found}, print_function=_silent),
        kind, print_function=_silent, separate_eval=True)
    evaluation.params.maxDets = [MAX_DETECTIONS]
    if not all_areas:
        evaluation.params.areaRng, evaluation.params.areaRngLbl = evaluation.params.areaRng[:1], ["all"]
    evaluation.evaluate()
    return evaluation


def _shapes(image, kind):
    """Returns what COCO's annotations of an image state about boxes or masks, a list of dicts, and the areas."""
    boxes = [{"bbox": box} for box in _xywh(image)]
    if kind == "bbox":
        return boxes, _area(_boxes(image))
    # an object without a mask gets one without pixels and an area outside of every range
    empty = masks.run_lengths(np.zeros(_size(image), bool))
    return ([box | {"segmentation": empty if mask is None else mask} for box, mask in zip(boxes, image["masks"])],
            np.array([-1.0 if mask is None else masks.area(mask) for mask in image["masks"]]))


def _size(image):
    return int(image.get("height", 1)), int(image.get("width", 1))


def _xywh(image):
    boxes = _boxes(image)
    return np.stack([boxes[:, 1], boxes[:, 0], boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]], -1).tolist()


def _silent(*_):
    pass


def _figures(evaluation, class_names):
    precision = evaluation.eval["precision"][..., 0]  # (iou thresholds, recalls, classes, areas)
    recall = evaluation.eval["recall"][..., 0]  # (iou thresholds, classes, areas)
    figures = {"ap": _mean(precision[..., 0]), "ap50": _mean(precision[0, ..., 0]), "ap75": _mean(precision[5, ..., 0])}
    for area, name in enumerate(evaluation.params.areaRngLbl[1:], start=1):
        figures[f"ap_{name}"] = _mean(precision[..., area])
    figures["ar100"] = _mean(recall[..., 0])
    per_class = {name: _mean(precision[:, :, k, 0]) for k, name in enumerate(class_names)}
    figures["per_class"] = {name: value for name, value in per_class.items() if value > NOTHING}
    figures["per_class_ap50"] = {name: _mean(precision[0, :, k, 0]) for k, name in enumerate(class_names)
                                 if name in figures["per_class"]}
    return figures


def _mean(values):
    """Returns the mean of what was measured."""
    measured = values[values > NOTHING]
    return float(np.mean(measured)) if measured.size else NOTHING


def _voc_class(ground_truth, detections, class_id, eleven_point, iou):
    scores, outcomes, objects = [], [], 0  # outcome: 1 hit, 0 miss, -1 neither
    for truth, guesses in zip(ground_truth, detections, strict=True):
        mine = np.asarray(truth["class_ids"]) == class_id
        ignored = _ignored(truth)[mine]
        objects += int((~ignored).sum())
        theirs = np.asarray(guesses["class_ids"]) == class_id
        order = np.argsort(-np.asarray(guesses["scores"], np.float64)[theirs], kind="stable")
        overlaps = intersection_over_union(_boxes(guesses)[theirs][order], _boxes(truth)[mine])
        taken = np.zeros(len(ignored), bool)
        for overlap in overlaps:  # best score first
            best = int(overlap.argmax()) if len(overlap) else -1
            if best < 0 or overlap[best] < iou:
                outcomes.append(0)
            elif ignored[best]:
                outcomes.append(-1)
            else:
                outcomes.append(int(not taken[best]))
                taken[best] = True
        scores.append(np.asarray(guesses["scores"], np.float64)[theirs][order])
    outcomes = np.array(outcomes, int)[np.argsort(-np.concatenate(scores), kind="stable")]
    hits, misses = np.cumsum(outcomes == 1), np.cumsum(outcomes == 0)
    precision = hits / np.maximum(hits + misses, 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if eleven_point:  # in whole numbers: 3 of 10 objects are a recall of 0.3, whatever 0.1 * 3 is
        return float(np.mean([max(precision[hits * 10 >= step * objects], default=0.0) for step in range(11)]))
    return float(np.sum(np.diff(hits / objects, prepend=0.0) * envelope))


def _graph(model, proposals):
    """Returns a traced function: images, and regions of a model that needs them -> detections and, where asked and the model
    proposes regions, proposals."""
    @tf.function
    def call(*inputs):
        outputs = dict(model.detect(*inputs))
        proposed = model.propose(*inputs) if proposals else None
        if proposed is not None:
            outputs["proposals"], outputs["proposal_scores"] = proposed
        return outputs

    return call


def _figure(value):
    return "-" if value == NOTHING else f"{value:.3f}"


def _box(console):
    return rich.box.SIMPLE_HEAD if console.is_terminal else None
