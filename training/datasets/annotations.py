"""Annotated images from untrusted files: pixels, boxes and the errors in them."""
import collections
import contextlib
import functools
import io
import math
import sys
import time
import xml.etree.ElementTree
import zipfile
import zlib

import numpy as np
import PIL.Image
import tensorflow as tf
import tensorflow_datasets as tfds

from training.config import UserError
from training.datasets import instance_masks
from training.datasets.class_names import class_name
from training.vision import files, images

MAX_IMAGE_BYTES = files.MAX_BYTES
"""size limit of an image file in bytes"""
MAX_XML_BYTES = 2 ** 22
"""size limit of the annotation of one image in bytes"""
IMAGE_ENDINGS = files.ENDINGS
"""extensions of image files, in lower case"""

_SECONDS_BETWEEN_LINES = 10


def features(class_names, with_masks=False):
    """Returns the features of all detection data sets in this package.

    with_masks: whether the objects have the features of `instance_masks.FEATURES` too
    """
    return tfds.features.FeaturesDict({
        "image": tfds.features.Image(),
        "image/id": np.int64,
        "image/filename": tfds.features.Text(),
        "objects": tfds.features.Sequence({
            "bbox": tfds.features.BBoxFeature(),
            "label": tfds.features.ClassLabel(names=class_names),
            "is_crowd": np.bool_,
            "is_difficult": np.bool_,
            **(instance_masks.FEATURES if with_masks else {}),
        }),
    })


class Picture:
    """A checked image in upright orientation.

    content: bytes of the image file
    source:  name of the image in error messages

    Attributes:
        file:          a file object with the image: the given bytes if they are a JPEG or PNG that is stored upright, and
                       otherwise a PNG, see `training.vision.files`
        height, width: in pixels, upright
        is_turned:     whether the image was stored rotated by 90 degrees, so its stored height is `width`

    Raises:
        UserError: the content is not an image, is damaged, has too many pixels, or has unsupported values.
    """

    def __init__(self, content, source):
        with files.refusal(content, source):
            image = files.opened(content, source)
            is_jpeg = image.format in ("JPEG", "MPO")
            self._orientation = _jpeg_orientation(content) if is_jpeg else files.orientation(image)
            self.is_turned = self._orientation >= 5
            self.width, self.height = image.size
            if self.is_turned and image.format != "TIFF":  # of which Pillow gives the upright size
                self.width, self.height = image.size[::-1]
            if self._orientation == 1 and (is_jpeg or image.format == "PNG"):
                _decoded(content, source, "JPEG" if is_jpeg else "PNG")
                self.file = io.BytesIO(content)
            else:
                if image.format == "GIF":  # what is transparent in it has other colors in Pillow than in serving
                    image = PIL.Image.fromarray(_decoded(content, source, "GIF").numpy())
                    self.width, self.height = image.size
                self.file = io.BytesIO(files.png(image, self._orientation, source))

    def upright(self, ymin, xmin, ymax, xmax):
        """Converts a box of the stored image to the upright image, in pixels; only for images with `is_turned`."""
        from_right, from_bottom = self._orientation in (7, 8), self._orientation in (6, 7)
        ymin, xmin, ymax, xmax = xmin, ymin, xmax, ymax
        if from_right:  # the stored left is below
            ymin, ymax = self.height - ymax, self.height - ymin
        if from_bottom:  # the stored top is on the right
            xmin, xmax = self.width - xmax, self.width - xmin
        return ymin, xmin, ymax, xmax

    def upright_mask(self, mask):
        """Converts a mask of the stored image, bool (height, width), to the upright image; only for images with `is_turned`."""
        mask = mask.T
        if self._orientation in (7, 8):  # as in `upright`
            mask = mask[::-1]
        return mask[:, ::-1] if self._orientation in (6, 7) else mask


def _jpeg_orientation(content):
    """Returns the orientation that serving sees too; Pillow would also take one from XMP."""
    return int(_exif_orientation(content)) if b"Exif\0\0" in content else 1


_exif_orientation = tf.function(images.exif_orientation, input_signature=[tf.TensorSpec((), tf.string)])


_DECODERS = {
    "JPEG": functools.partial(tf.io.decode_jpeg, channels=3), "PNG": functools.partial(tf.io.decode_png, channels=3),
    "GIF": tf.function(images.decode, input_signature=[tf.TensorSpec((), tf.string)])}


def _decoded(content, source, kind):
    """Returns the pixels of a file by the decoder of training and serving, which refuses some files that Pillow bears."""
    try:
        return _DECODERS[kind](content)
    except tf.errors.InvalidArgumentError:
        raise UserError(f"{source} is not an image, or is damaged: the {kind} decoder rejects it") from None


class Boxes:
    """Converts boxes in pixels to TFDS boxes, and counts the faulty ones."""

    def __init__(self):
        self.faults = collections.Counter()

    def box(self, yxyx, height, width):
        """Returns a tfds BBox, clipped to the image, or None if the box is faulty or lies outside the image.

        yxyx:          (ymin, xmin, ymax, xmax) in pixels; up to one pixel beyond the edge counts as rounding
        height, width: size of the image, in pixels
        """
        if not all(math.isfinite(value) for value in yxyx):
            self.faults["not a number"] += 1
            return None
        ymin, xmin, ymax, xmax = yxyx
        if ymin > ymax or xmin > xmax:
            self.faults["inverted"] += 1
            return None
        if ymin == ymax or xmin == xmax:
            self.faults["empty"] += 1
            return None
        clipped = max(ymin, 0), max(xmin, 0), min(ymax, height), min(xmax, width)
        if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
            self.faults["outside the image"] += 1
            return None
        if max(abs(before - after) for before, after in zip(yxyx, clipped)) > 1:
            self.faults["clipped"] += 1
        ymin, xmin, ymax, xmax = clipped
        return tfds.features.BBox(ymin=ymin / height, xmin=xmin / width, ymax=ymax / height, xmax=xmax / width)

    def report(self, name):
        """Prints one line to the error stream if there were faulty boxes, and resets the counts; `name` is that of data set
        and split."""
        dropped = {fault: count for fault, count in self.faults.items() if fault != "clipped"}
        parts = []
        if self.faults["clipped"]:
            count = self.faults["clipped"]
            parts.append(f"{count} boxes extend beyond the image and were clipped" if count > 1
                         else "1 box extends beyond the image and was clipped")
        if dropped:
            kinds = ", ".join(f"{count} {fault}" for fault, count in dropped.items())
            count = sum(dropped.values())
            parts.append(f"{count} box{'es were' if count > 1 else ' was'} dropped ({kinds})")
        if parts:
            print(f"{name}: {'; '.join(parts)}", file=sys.stderr, flush=True)
        self.faults.clear()


def voc(content, source):
    """Returns (height, width, objects) of a PASCAL VOC annotation; height and width are below 1 if it states no size.

    objects is a list of (name, (ymin, xmin, ymax, xmax) in pixels as written, is_difficult). As in TFDS's own reader of VOC,
    nothing is subtracted, although VOC itself counts pixels from 1.

    content: bytes of the XML file
    source:  the file's name in error messages

    Raises:
        UserError: the content is too large, is not well-formed XML, has a document type (whose entities could expand without
            limit), or has an object without numbers or with an invalid class name.
    """
    if len(content) > MAX_XML_BYTES:
        raise UserError(f"{source} is larger than {MAX_XML_BYTES:,} bytes, the limit for the annotation of one image")
    try:
        root = xml.etree.ElementTree.fromstring(
            content, xml.etree.ElementTree.XMLParser(target=_WithoutDoctype()))
    except _Doctype:
        raise UserError(f"{source} has a document type declaration, which is not allowed: remove it") from None
    except (xml.etree.ElementTree.ParseError, LookupError, ValueError) as error:
        raise UserError(f"{source} is not well-formed XML: {error}") from None

    def number(node, path):
        text = node.findtext(path)
        try:
            return float(text)
        except (TypeError, ValueError):
            raise UserError(f"{source} has {text!r} instead of a number ({path})") from None

    size = [stated_side(root.findtext(f"size/{name}"), f"{source}: the {name}") for name in ("height", "width")]
    objects = []
    for node in root.iter("object"):
        label = class_name(node.findtext("name") or "", f"the name of an object in {source}")
        if node.find("bndbox") is None:
            raise UserError(f"{source} has an object {label!r} without a bndbox")
        box = tuple(number(node, f"bndbox/{side}") for side in ("ymin", "xmin", "ymax", "xmax"))
        difficult = (node.findtext("difficult") or "").strip()
        is_difficult = difficult.lower() not in ("", "unspecified") and flag(difficult, f"{source}: difficult")
        objects.append((label, box, is_difficult))
    return *size, objects


def stated_side(value, what):
    """Returns the height or width that an annotation states, as a number or as a text; 0 where it states none.

    Raises:
        UserError: it is no number; `what` is its name in the sentence.
    """
    if value is None or str(value).strip() == "":
        return 0.0
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{what} is {str(value)[:80]!r}, but must be a number of pixels")
    return number


def flag(value, what):
    """Returns a flag of an annotation as bool: 0, 1, false and true as numbers, text or booleans; None means false.

    Raises:
        UserError: the value is not a flag; `what` is its name in the message.
    """
    text = "0" if value is None else str(value).strip().lower()
    if text not in ("0", "0.0", "false", "1", "1.0", "true"):
        raise UserError(f"{what} is {str(value)[:80]!r}, but must be 0 or 1")
    return text in ("1", "1.0", "true")


def example(content, source, name, number, size, objects, class_names, boxes, mask_of=None):
    """Returns the features of one image.

    content:    bytes of the image file
    source:     the image's name in error messages
    name:       file name of the image
    number:     id of the image
    size:       (height, width) according to the annotation; numbers below 1 if it states no size
    objects:    list of (label, box (ymin, xmin, ymax, xmax) in pixels, is_crowd, is_difficult). The boxes refer to the upright
                image; if the annotation states the size of an image that is stored rotated, they refer to the stored image and
                are rotated with it.
    boxes:      Boxes, which counts the faulty boxes
    mask_of:    function from the index of an object and the stated height and width to its mask, bool (height, width), or None
                for an object without a mask; None for a data set without masks

    Raises:
        UserError: the image is damaged or does not have the stated size, or a label is not among the classes.
    """
    picture = Picture(content, source)
    shown = (picture.height, picture.width)
    stated = tuple(size) if all(side >= 1 for side in size) else shown
    is_stored = picture.is_turned and stated != shown and stated == shown[::-1]
    if stated != shown and not is_stored:
        raise UserError(f"{source} has {shown[1]} x {shown[0]} pixels, but according to its annotation "
                        f"{stated[1]:g} x {stated[0]:g}")
    kept = []
    for index, (label, box, is_crowd, is_difficult) in enumerate(objects):
        if label not in class_names:
            raise UserError(f"{source}: the label {label!r} is not one of the classes {', '.join(class_names[:20])}")
        box = boxes.box(picture.upright(*box) if is_stored else box, picture.height, picture.width)
        if box is None:
            continue
        kept.append({"bbox": box, "label": label, "is_crowd": is_crowd, "is_difficult": is_difficult})
        if mask_of:
            mask = mask_of(index, *map(int, stated))
            kept[-1] |= instance_masks.features(picture.upright_mask(mask) if is_stored and mask is not None else mask)
    return {"image": picture.file, "image/id": number, "image/filename": name, "objects": kept}


@contextlib.contextmanager
def archive(path, instructions):
    """Yields an open zip file, which is read without unpacking it to disk.

    path:         path of the zip file
    instructions: how to get the file, for the error message if it is missing

    Raises:
        UserError: the file does not exist or is damaged.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist: {' '.join(instructions.split())}")
    try:
        with zipfile.ZipFile(path) as opened:
            yield opened
    # zipfile documents the first two only; damaged bytes cause the others as well
    except (zipfile.BadZipFile, zipfile.LargeZipFile, RuntimeError, EOFError, OSError, UnicodeDecodeError,
            zlib.error) as error:
        raise UserError(f"{path} cannot be read as a zip file: {str(error) or 'unexpected end of file'}") from None


def member(opened, name, max_bytes):
    """Returns the bytes of a member of a zip file.

    Raises:
        UserError: there is no such member, or it has more than `max_bytes` bytes.
    """
    try:
        found = opened.getinfo(name)
    except KeyError:
        raise UserError(f"{opened.filename} does not contain {name}") from None
    if found.file_size > max_bytes:
        raise UserError(f"{opened.filename}: {name} unpacks to {found.file_size:,} bytes, more than the limit of {max_bytes:,}")
    with opened.open(found) as file:
        return file.read(found.file_size)


def progress(items, name):
    """Yields the items of a list, and prints the estimated remaining time to the error stream every ten seconds."""
    start = reported = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - reported > _SECONDS_BETWEEN_LINES:
            reported = now
            minutes, seconds = divmod(int((now - start) / done * (len(items) - done)), 60)
            print(f"preparing {name}: {done:,} of {len(items):,}, about {minutes} min {seconds} s left",
                  file=sys.stderr, flush=True)
        yield item


class _Doctype(Exception):
    pass


class _WithoutDoctype(xml.etree.ElementTree.TreeBuilder):
    def doctype(self, name, public_id, system_id):
        """Refuses a document type declaration."""
        raise _Doctype
