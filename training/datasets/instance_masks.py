"""Instance masks of untrusted annotations, and how prepared data sets store them."""
import collections
import io
import sys

import numpy as np
import PIL.Image
import tensorflow as tf
import tensorflow_datasets as tfds
from faster_coco_eval.core import mask as coco_mask

FEATURES = {
    "mask": tfds.features.Tensor(shape=(), dtype=tf.string),
    "mask_corner": tfds.features.Tensor(shape=(2,), dtype=np.int32),
}
"""the features of an object that store its mask: `mask` is a PNG file of the smallest rectangle that holds the mask, with pixels
of 0 and 255, or empty for an object without a mask; `mask_corner` is the top and left of the rectangle in the upright image"""
NOTHING = {"mask": b"", "mask_corner": np.zeros(2, np.int32)}
"""the features of an object without a mask"""

_LONGEST_OUTLINE = 2_000_000
"""pixels: COCO's code needs about a hundred bytes for each pixel of an outline"""


class Masks:
    """Converts segmentations in COCO's formats to masks, and counts the faulty ones.

    A faulty segmentation leaves its object without a mask; the box stays.
    """

    def __init__(self):
        self.faults = collections.Counter()

    def mask(self, segmentation, height, width):
        """Returns a mask, bool (height, width), or None if there is none or it is faulty.

        segmentation:  a list of polygons [x, y, x, y, …] in pixels, or {"size": [height, width], "counts": …} with run lengths,
                       in a list or compressed to a text
        height, width: size of the image, in pixels
        """
        if segmentation is None or segmentation == []:
            return self._fault("missing")
        found = self._runs(segmentation, height, width) if isinstance(segmentation, dict) else \
            self._polygons(segmentation, height, width)
        return found if found is None or found.any() else self._fault("empty or outside the image")

    def report(self, name):
        """Prints one line to the error stream if there were faulty masks, and resets the counts; `name` is that of data set and
        split."""
        if self.faults:
            count = sum(self.faults.values())
            kinds = ", ".join(f"{number:,} {fault}" for fault, number in self.faults.items())
            print(f"{name}: {count:,} object{'s have' if count > 1 else ' has'} a box, but no mask ({kinds})",
                  file=sys.stderr, flush=True)
        self.faults.clear()

    def _fault(self, words):
        self.faults[words] += 1

    def _runs(self, segmentation, height, width):
        """Returns the mask of run lengths; nothing of the stated size is allocated before it is known to be the image's."""
        size, counts = segmentation.get("size"), segmentation.get("counts")
        if size != [height, width]:
            return self._fault("of another size than the image")
        if isinstance(counts, list):
            if not all(type(count) is int and count >= 0 for count in counts) or sum(counts) != height * width:
                return self._fault("with run lengths that do not add up to the image")
            values = np.arange(len(counts)) % 2 == 1  # background first
            return np.repeat(values, counts).reshape(width, height).T
        if not isinstance(counts, str) or not counts.isascii():
            return self._fault("in an unknown format")
        try:
            return coco_mask.decode({"size": size, "counts": counts.encode()}).astype(bool)
        except (ValueError, RuntimeError):
            return self._fault("with run lengths that do not add up to the image")

    def _polygons(self, segmentation, height, width):
        if not isinstance(segmentation, list) or not all(isinstance(polygon, list) for polygon in segmentation):
            return self._fault("in an unknown format")
        outlines = []
        for polygon in segmentation:
            try:
                points = np.array(polygon, np.float64).reshape(-1, 2)
            except (TypeError, ValueError, OverflowError):
                return self._fault("with invalid coordinates")
            if len(points) < 3:
                return self._fault("with a polygon of fewer than three points")
            if not np.isfinite(points).all():
                return self._fault("with invalid coordinates")
            if np.abs(points).max() > 2 * max(height, width):
                return self._fault("with coordinates far outside the image")
            outlines.append(points)
        if sum(np.abs(np.diff(points, axis=0, append=points[:1])).sum() for points in outlines) > _LONGEST_OUTLINE:
            return self._fault("with an outline that is too long")
        found = np.zeros((height, width), bool)
        for runs in coco_mask.frPyObjects([points.ravel().tolist() for points in outlines], height, width):
            found |= coco_mask.decode(runs).astype(bool)
        return found


def features(mask):
    """Returns the features of an object from its mask, bool (height, width) of the upright image, or None."""
    if mask is None:
        return NOTHING
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    (top, bottom), (left, right) = (rows[0], rows[-1] + 1), (columns[0], columns[-1] + 1)
    file = io.BytesIO()
    PIL.Image.fromarray(mask[top:bottom, left:right].astype(np.uint8) * 255).save(file, "png")
    return {"mask": file.getvalue(), "mask_corner": np.array([top, left], np.int32)}


def box(mask):
    """Returns the tight box (ymin, xmin, ymax, xmax) of a mask, in pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(rows[0]), float(columns[0]), float(rows[-1] + 1), float(columns[-1] + 1)
