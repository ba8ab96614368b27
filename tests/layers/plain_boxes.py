"""Boxes for tests, and what is known about them, one at a time and in double precision."""
import numpy as np


def random_boxes(*shape, seed=0, image=100, smallest=5, largest=50):
    """Returns boxes_yxyx (*shape, 4) that may stick out of the image."""
    random = np.random.default_rng(seed)
    centers, sides = random.uniform(0, image, (*shape, 2)), random.uniform(smallest, largest, (*shape, 2))
    return np.concatenate([centers - sides / 2, centers + sides / 2], axis=-1).astype("float32")


def area(box):
    ymin, xmin, ymax, xmax = map(float, box)
    return max(0.0, ymax - ymin) * max(0.0, xmax - xmin)


def shared(a, b):
    return area([max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])])


def iou(a, b):
    union = area(a) + area(b) - shared(a, b)
    return shared(a, b) / union if union else 0.0


def suppress(boxes_yxyx, scores, groups, outputs, iou_threshold, score_threshold):
    """Returns the places that greedy non-maximum suppression keeps; of equal scores the first comes first."""
    kept = []
    for place in sorted(range(len(scores)), key=lambda place: -scores[place]):
        rivals = [other for other in kept if groups[other] == groups[place]]
        if scores[place] > score_threshold and len(kept) < outputs and all(
                iou(boxes_yxyx[place], boxes_yxyx[other]) <= iou_threshold for other in rivals):
            kept.append(place)
    return kept
