"""Pictures of images: boxes with labels, titles, grids, heat maps and thumbnails, in uint8 RGB."""
import pathlib

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.engine.names import one_line

COLORS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
           (255, 255, 255), (136, 34, 85), (153, 221, 102))
"""RGB colors by class, suitable for color-blind people: those of Okabe and Ito, 2008, then white, wine and lime"""

_SIDE = 384
"""pixels: images with a shorter long side are enlarged by a whole number before anything is drawn on them"""
_LUMINANCE = (0.299, 0.587, 0.114)


def draw(image, boxes_yxyx, labels, scores=None, class_ids=None):
    """Returns the image as uint8 RGB with a colored box and a readable label for every object.

    A small image is first enlarged by an integer factor, so the picture may be larger than the image.

    image:      uint8 (height, width, 3)
    boxes_yxyx: (n, 4) in pixels of the image
    labels:     n strings; an empty string draws only the box
    scores:     n numbers to write after the labels; boxes with higher scores are drawn over those with lower ones
    class_ids:  n integers that choose the colors; by default, each new label uses the next color
    """
    labels = [str(label) for label in labels]
    if class_ids is None:
        names = list(dict.fromkeys(labels))
        class_ids = [names.index(label) for label in labels]
    texts = labels if scores is None else [f"{label} {score:.2f}".strip() for label, score in zip(labels, scores)]
    colors = [COLORS[int(k) % len(COLORS)] for k in class_ids]
    order = range(len(texts)) if scores is None else np.argsort(scores, kind="stable")
    return boxes(image, np.reshape(boxes_yxyx, (-1, 4))[order], [colors[k] for k in order], [texts[k] for k in order])


def boxes(image, boxes_yxyx, colors, texts):
    """Draws all boxes, each with a dark edge that stands out on any ground, then all labels on top of them."""
    image = np.asarray(image)
    factor = -(-_SIDE // max(image.shape[:2]))
    image = image.repeat(factor, axis=0).repeat(factor, axis=1)
    height, width = image.shape[:2]
    line = max(2, max(height, width) // 210)
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    corners = []
    for box, color in zip(np.asarray(boxes_yxyx, np.float64).reshape(-1, 4), colors):
        top, left, bottom, right = np.round(box * factor).astype(int)
        top, left = np.clip(top, 0, height - 1), np.clip(left, 0, width - 1)
        bottom, right = np.clip(bottom, top + 1, height) - 1, np.clip(right, left + 1, width) - 1
        corners.append((int(left), int(top), int(right)))
        pen.rectangle([left - 1, top - 1, right + 1, bottom + 1], outline=(0, 0, 0), width=line + 2)
        pen.rectangle([left, top, right, bottom], outline=color, width=line)
    font = _font(max(12, max(height, width) // 50))
    for (left, top, _), color, text in zip(corners, colors, texts):
        if text:
            _label(pen, font, left, top, color, text, width, height)
    return np.asarray(picture)


def titled(image, title, legend=()):
    """Puts a line of text above a picture: the title, then (name, color) pairs as far as there is room."""
    font = _font(16)
    picture = Image.new("RGB", (image.shape[1], image.shape[0] + 24), (32, 32, 32))
    picture.paste(Image.fromarray(image), (0, 24))
    pen = ImageDraw.Draw(picture)
    x = 4
    for text, color in [(title, (255, 255, 255)), *legend]:
        text = one_line(text)
        wide = pen.textlength(text, font=font)
        if x + wide > image.shape[1]:
            break
        if np.dot(color, _LUMINANCE) < 100:  # dark text on dark ground: on white instead
            pen.rectangle([x - 2, 2, x + wide + 1, 21], fill=(255, 255, 255))
        pen.text((x, 2), text, font=font, fill=color)
        x += int(wide) + 12
    return np.asarray(picture)


def grid(drawn, columns):
    """Returns pictures of one size as one, row by row, with thin dark lines between."""
    drawn = [np.pad(picture, [(2, 2), (2, 2), (0, 0)], constant_values=32) for picture in drawn]
    return np.concatenate([np.concatenate(drawn[i:i + columns], axis=1) for i in range(0, len(drawn), columns)])


def heat(values, size):
    """Returns (*size, 3): lowest value dark, highest bright, in matplotlib's viridis."""
    span = values.max() - values.min()
    colors = matplotlib.colormaps["viridis"]((values - values.min()) / (span if span > 0 else 1.0))
    picture = Image.fromarray((colors[..., :3] * 255).astype(np.uint8))
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.NEAREST))


def thumbnail(image, box_yxyx, side):
    """Returns what is inside a box, as a square without distortion: the box is widened to a square first."""
    (top, left), (bottom, right) = box_yxyx[:2], box_yxyx[2:]
    half = max(bottom - top, right - left, 1.0) / 2
    y, x = (top + bottom) / 2, (left + right) / 2
    corners = np.floor([x - half, y - half]), np.ceil([x + half, y + half])
    picture = Image.fromarray(image).crop([int(value) for value in np.concatenate(corners)])
    return np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR))


def uint8(images):
    """Returns a batch of images, a tensor from 0 to 255, as a uint8 array."""
    return np.clip(images.numpy(), 0, 255).astype(np.uint8)


def _label(pen, font, left, top, color, text, width, height):
    """Writes a label above its box, or inside where there is no room above, and never outside of the picture."""
    text = one_line(text)
    x0, y0, x1, y1 = pen.textbbox((0, 0), text, font=font)
    wide, high = x1 - x0 + 5, sum(font.getmetrics()) + 1
    left = max(0, min(left, width - wide))
    top = top - high if top >= high else min(top, height - high)
    pen.rectangle([left, top, left + wide - 1, top + high - 1], fill=color, outline=(0, 0, 0))
    dark = np.dot(color, _LUMINANCE) < 120
    pen.text((left + 2 - x0, top), text, font=font, fill=(255, 255, 255) if dark else (0, 0, 0))


def _font(size):
    """Returns the font that matplotlib ships: it knows more scripts than PIL's own."""
    return ImageFont.truetype(str(pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)
