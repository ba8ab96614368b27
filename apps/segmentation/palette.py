"""Colors of classes, and pictures of class maps."""
import numpy as np
from PIL import Image

from training.engine import files
from training.vision import drawing

BLACK = (0, 0, 0)
"""color of the background"""
_OPACITY = 0.6
_EDGE = 0.25
"""brightness of the pixels at the border between two classes"""


def colors(class_names):
    """Returns a color for each class, uint8 (classes, 3), of which no two are equal.

    A first class named "background" is black, which `overlay` leaves out. Beyond the colors of `drawing.COLORS`, they are those
    of PASCAL VOC.
    """
    made = [BLACK] * (class_names[:1] == ["background"]) + list(drawing.COLORS)
    number = 1
    while len(made) < len(class_names):
        color = _voc(number)
        if color not in made:
            made.append(color)
        number += 1
    return np.array(made[:len(class_names)], np.uint8)


def overlay(image, class_map, colors):
    """Returns an image under the transparent colors of its classes, uint8 (height, width, 3); a black class is left out.

    image:     uint8 (height, width, 3)
    class_map: (height, width), integers; those without a color, such as -1, are darkened
    colors:    uint8 (classes, 3)
    """
    class_map = np.asarray(class_map, np.int64)
    is_known = (class_map >= 0) & (class_map < len(colors))
    color = colors[np.where(is_known, class_map, 0)]
    opacity = np.where(is_known & (color != BLACK).any(axis=-1), _OPACITY, 0.0)[..., None]
    picture = image * (1 - opacity) + color * opacity
    picture = np.where(is_known[..., None], picture, image * 0.4)
    picture[_edges(class_map)] *= _EDGE
    return np.clip(np.round(picture), 0, 255).astype(np.uint8)


def indexed(class_map, colors):
    """Returns a PIL image whose palette indices are the class ids of (height, width) uint8."""
    picture = Image.fromarray(np.asarray(class_map, np.uint8))
    picture.putpalette(np.pad(colors, [(0, 256 - len(colors)), (0, 0)]).tobytes())
    return picture


def write(path, picture):
    """Writes a PIL image as a PNG file, whole or not at all."""
    with files.whole(path) as temporary:
        picture.save(temporary, "png")


def _edges(class_map):
    """Returns which pixels have another class than the one to the left or above, (height, width) bool."""
    edges = np.zeros(class_map.shape, bool)
    edges[1:] |= class_map[1:] != class_map[:-1]
    edges[:, 1:] |= class_map[:, 1:] != class_map[:, :-1]
    return edges


def _voc(number):
    """Returns the color of a class in PASCAL VOC: the bits of its number go to the three channels in turn."""
    color = [0, 0, 0]
    for place in range(8):
        for channel in range(3):
            color[channel] |= (number >> channel & 1) << (7 - place)
        number >>= 3
    return tuple(color)
