"""Masks with a class for every pixel, from untrusted files."""
import collections
import re
import sys

import numpy as np
import tensorflow_datasets as tfds

from training.config import UserError
from training.datasets import annotations
from training.datasets.class_names import class_names
from training.text import files as text_files
from training.vision import files

VOID = 255
"""value of a prepared mask where there is no label"""
_VOID_NAME = "void"
_COLORED = re.compile(r"(.*\S)\s+(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})")
_GRAY, _BITS, _KIND = 0, 24, 25
"""color type of a gray PNG, and where its header has the bits of a value and the color type"""


def features(names):
    """Returns the features of all semantic segmentation data sets in this package; names: names of the classes."""
    return tfds.features.FeaturesDict({
        "image": tfds.features.Image(),
        "image/filename": tfds.features.Text(),
        "mask": tfds.features.LabeledImage(labels=names, shape=(None, None, 1), dtype=np.uint8, encoding_format="png"),
    })


class Classes:
    """The classes of masks, from a text with a class on each line: its name, or its name and a color such as 128 64 0.

    Without colors, the lines are numbered 0, 1, …, and these are the values of the masks. With colors, the colors of the masks
    count. A line called "void" has the value or color of pixels without a label.

    content: bytes of the text
    source:  its file, for error messages

    Attributes:
        names: names of the classes, without "void"

    Raises:
        UserError: there are fewer than two classes or more than 255, a name is not valid, some lines lack a color, or two
            colors are equal.
    """

    def __init__(self, content, source):
        lines = [line.strip() for line in text_files.lines(content, source) if line.strip()]
        found = [_COLORED.fullmatch(line) for line in lines]
        if any(found) and not all(found):
            bare = next(line for line, match in zip(lines, found) if not match)
            raise UserError(f"{source} gives colors for some classes, but not for {bare[:80]!r}: give one for each, such as "
                            "'road 128 64 128', or none")
        names = class_names([match[1] if match else line for line, match in zip(lines, found)], source)
        self.names = [name for name in names if name != _VOID_NAME]
        if not 2 <= len(self.names) <= VOID:
            raise UserError(f"{source} names {len(self.names)} classes, but must name between 2 and {VOID}, one on each line")
        ids = {name: number for number, name in enumerate(self.names)}
        self._ids = [ids.get(name, VOID) for name in names]
        self._colors = [tuple(map(int, match.groups()[1:])) for match in found] if all(found) else None
        if self._colors:
            wrong = next((color for color in self._colors if max(color) > 255), None)
            if wrong:
                raise UserError(f"{source} has the color {wrong}, but its parts must be from 0 to 255")
            twins = [color for color, count in collections.Counter(self._colors).items() if count > 1]
            if twins:
                raise UserError(f"{source} gives the color {twins[0]} to two classes")

    def of_values(self, values):
        """Returns (class ids uint8, values that are no class) of an integer array; `VOID` and 65535 are known to be void."""
        table = np.full(65536, VOID, np.uint8)
        table[:len(self._ids)] = self._ids
        strange = values[(values >= len(self._ids)) & (values != VOID) & (values != 65535)]
        return table[values], strange

    def of_colors(self, colors):
        """Returns (class ids uint8, colors that are no class as integers 0xRRGGBB) of uint8 (height, width, 3)."""
        codes = colors.astype(np.int64) @ (65536, 256, 1)
        known = np.array(self._colors, np.int64) @ (65536, 256, 1)
        order = np.argsort(known)
        place = order[np.minimum(np.searchsorted(known[order], codes), len(known) - 1)]
        is_known = known[place] == codes
        return np.where(is_known, np.array(self._ids, np.uint8)[place], VOID).astype(np.uint8), codes[~is_known]

    @property
    def has_colors(self):
        """Whether the classes of pixels are told by their colors."""
        return self._colors is not None


class Masks:
    """Reads masks and counts what they hold besides the classes.

    classes: `Classes`
    """

    def __init__(self, classes):
        self.classes = classes
        self._pixels, self._files, self._example, self._blank = 0, 0, None, 0

    def read(self, content, source, height, width):
        """Returns the class ids of a PNG file, uint8 (height, width, 1) with `VOID` for pixels without a label.

        Palette images count by their indices, gray ones by their values, whatever their number of bits; if the classes have
        colors, the colors count. Transparency is ignored.

        height, width: size of the upright image

        Raises:
            UserError: the file is damaged or not a PNG, has another size, or has colors that the classes do not have.
        """
        with files.refusal(content, source):
            image = files.opened(content, source)
            if image.format != "PNG":
                raise UserError(f"{source} is a {image.format} file, but a mask must be a PNG, which keeps every value as it is")
            image.load()
        if image.size != (width, height):
            raise UserError(f"{source} has {image.width} x {image.height} pixels, but its image {width} x {height}")
        ids, strange = self._ids(image, content, source)
        if strange.size:
            self._pixels, self._files = self._pixels + strange.size, self._files + 1
            if self._example is None:
                self._example = f"the color {strange[0]:06x}" if self.classes.has_colors else f"the value {strange[0]}"
        self._blank += not (ids != VOID).any()
        return ids[..., None]

    def report(self, name):
        """Prints one line to the error stream if there was anything but classes; `name` is that of data set and split."""
        parts = []
        if self._pixels:
            parts.append(f"{self._pixels:,} pixels in {self._files:,} mask{'s' if self._files > 1 else ''} have no class of the "
                         f"list, such as {self._example}: they are void")
        if self._blank:
            parts.append(f"{self._blank:,} mask{'s have' if self._blank > 1 else ' has'} no labeled pixel")
        if parts:
            print(f"{name}: {'; '.join(parts)}", file=sys.stderr, flush=True)
        self._pixels, self._files, self._example, self._blank = 0, 0, None, 0

    def _ids(self, image, content, source):
        if self.classes.has_colors:
            return self.classes.of_colors(np.asarray(image.convert("RGB")))
        if image.mode in ("P", "PA", "1", "L", "LA") or image.mode.startswith("I"):
            values = np.asarray(image if image.mode not in ("PA", "LA") else image.getchannel(0)).astype(np.int64)
            bits = content[_BITS]
            if content[_KIND] == _GRAY and bits in (2, 4):  # Pillow stretches these to 0..255
                values //= 255 // (2 ** bits - 1)
            return self.classes.of_values(values)
        channels = np.asarray(image.convert("RGB"))
        if (channels != channels[..., :1]).any():
            raise UserError(f"{source} has colors: write the color of each class behind its name in the list of classes, such as "
                            "'road 128 64 128'")
        return self.classes.of_values(channels[..., 0].astype(np.int64))


def example(image, mask, source, mask_source, name, masks):
    """Returns the features of one image.

    image, mask:         bytes of the files
    source, mask_source: their names in error messages
    name:                file name of the image
    masks:               `Masks`

    Raises:
        UserError: a file is damaged, or the mask does not fit the image.
    """
    picture = annotations.Picture(image, source)
    return {"image": picture.file, "image/filename": name,
            "mask": masks.read(mask, mask_source, picture.height, picture.width)}
