"""Pictures: detections and ground truth, matched anchors, proposals, feature maps, and an embedding of boxes."""
import itertools
import pathlib

import keras
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from apps.detection import evaluation
from apps.detection.systems import SHOWN_SCORE
from training.app import Rendered
from training.engine.names import one_line

COLORS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
           (255, 255, 255), (136, 34, 85), (153, 221, 102))
"""RGB colors by class, suitable for color-blind people: those of Okabe and Ito, 2008, then white, wine and lime"""

_SIDE = 384
"""pixels: images with a shorter long side are enlarged by a whole number before anything is drawn on them"""
_CROWDED = 12
"""objects on one image beyond which names would hide it: the colors in its title tell the classes"""
_HIT, _OTHER = COLORS[1], COLORS[0]
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
    return _drawn(image, np.reshape(boxes_yxyx, (-1, 4))[order], [colors[k] for k in order], [texts[k] for k in order])


def render(model, splits, config, info, metrics):
    """Returns the Rendered pictures, activations and embeddings, see `pictures`, `activations` and `embeddings`."""
    return Rendered(
        pictures(model, splits, config, info), activations(model, splits), embeddings=embeddings(model, splits, config, info))


def pictures(model, splits, config, info, count=8):
    """Returns {name: uint8 (n, height, width, 3)} for the first `count` test images of the first batch.

    detections:      ground truth above, detections with a score of at least `SHOWN_SCORE` below
    proposals:       the best 30 regions; blue if one overlaps an object by half, otherwise orange
    anchors_matched: ground truth in white, anchors that are matched to an object in training in blue
    feature_maps:    for two images: the mean size of the features per pyramid level, and the four strongest features

    Pictures that the model does not support are omitted.
    """
    batch = next(iter(splits.test))
    images, targets = batch[0]["image"], batch[1]
    count = min(count, images.shape[0])
    scale = targets["scale"].numpy()[:count]
    objects, detections, proposals = evaluation.detect(model, [batch], config, proposals=True)
    # the squares are filled from the top left: what no image of these reaches is not shown
    used = [int(np.ceil((targets[side].numpy()[:count] * scale).max())) for side in ("height", "width")]
    used = np.clip(used, 1, images.shape[1])
    shown = _uint8(images[:count])[:, :used[0], :used[1]]
    names = info.class_names

    drawn = []
    for image, real, found, ratio in zip(shown, objects, detections, scale):
        good = found["scores"] >= SHOWN_SCORE
        found = {name: values[good] for name, values in found.items()}
        drawn.append(np.concatenate([_labelled(image, real, ratio, names, "truth"),
                                     _labelled(image, found, ratio, names, "found")]))
    made = {"detections": np.stack(drawn)}

    if proposals is not None:
        drawn = []
        for image, real, proposed, ratio in zip(shown, objects, proposals, scale):
            best = np.argsort(-proposed["scores"], kind="stable")[:30][::-1]  # the best is drawn last, on top
            best = best[proposed["scores"][best] > 0]  # 0 is padding
            boxes = proposed["boxes_yxyx"][best]
            covers = (evaluation.intersection_over_union(boxes, real["boxes_yxyx"]) >= 0.5).any(axis=1)
            drawn.append(_drawn(image, boxes * ratio, [_HIT if c else _OTHER for c in covers], [""] * len(boxes)))
        made["proposals"] = np.stack(drawn)

    matched = model.matched_anchors(targets["boxes_yxyx"][:count], targets["class_ids"][:count])
    if matched is not None:
        drawn = []
        for image, real, mine, ratio in zip(shown, objects, keras.ops.convert_to_numpy(matched), scale):
            anchors, boxes = np.asarray(model.anchors)[mine.astype(bool)], real["boxes_yxyx"] * ratio
            colors = [_HIT] * len(anchors) + [COLORS[7]] * len(boxes)
            drawn.append(_drawn(image, np.concatenate([anchors, boxes]), colors, [""] * len(colors)))
        made["anchors_matched"] = np.stack(drawn)

    few = images[:min(2, count)]
    levels = [keras.ops.convert_to_numpy(level).astype(np.float32) for level in model.pyramid_features(few)]
    share = used / images.shape[1]
    levels = [level[:, :int(np.ceil(level.shape[1] * share[0])), :int(np.ceil(level.shape[2] * share[1]))] for level in levels]
    made["feature_maps"] = np.stack([_feature_maps(image, [level[i] for level in levels])
                                     for i, image in enumerate(shown[:len(few)])])
    return made


def activations(model, splits):
    """Returns {layer: its outputs for the first test batch} of the pyramid levels and the box features."""
    inputs, targets = next(iter(splits.test))
    made = {f"pyramid_level_{number + 1}": keras.ops.convert_to_numpy(level).astype(np.float32)
            for number, level in enumerate(model.pyramid_features(inputs["image"]))}
    features = model.embed(inputs["image"], targets["boxes_yxyx"])
    if features is not None:
        features = keras.ops.convert_to_numpy(features).astype(np.float32)
        made["box_features"] = features[targets["class_ids"].numpy() >= 0]
    return made


def embeddings(model, splits, config, info, most=1000, side=32):
    """Returns {"objects": (vectors, metadata, thumbnails)} of test objects for the projector; {} without objects or features.

    vectors:    (objects, dimensions), the box features that the model classifies, for the ground-truth boxes
    metadata:   one dict per object: its class, its size in COCO's ranges, and its image
    thumbnails: uint8 (objects, side, side, 3), the content of the box
    """
    vectors, metadata, thumbnails = [], [], []
    for inputs, targets in itertools.islice(splits.test, config.limit_steps):
        features = model.embed(inputs["image"], targets["boxes_yxyx"])
        if features is None:
            return {}
        features = keras.ops.convert_to_numpy(features).astype(np.float32)
        targets = {name: value.numpy() for name, value in targets.items()}
        images = _uint8(inputs["image"])
        for row, place in zip(*np.nonzero(targets["class_ids"] >= 0)):
            box = targets["boxes_yxyx"][row, place]
            area = np.prod((box[2:] - box[:2]) / targets["scale"][row])
            vectors.append(features[row, place])
            metadata.append({
                "class": info.class_names[targets["class_ids"][row, place]],
                "size": "small" if area < 32 ** 2 else "medium" if area < 96 ** 2 else "large",
                "image": int(targets["image_id"][row])})
            thumbnails.append(_thumbnail(images[row], box, side))
        if len(vectors) >= most:
            break
    if not vectors:
        return {}
    return {"objects": (np.array(vectors[:most], np.float32), metadata[:most], np.array(thumbnails[:most], np.uint8))}


def _uint8(images):
    return np.clip(images.numpy(), 0, 255).astype(np.uint8)


def _labelled(image, objects, scale, class_names, title):
    """Draws truth or detections, which are in pixels of the original, under a title that tells the colors."""
    ids = [int(k) for k in objects["class_ids"]]
    labels = [class_names[k] if len(ids) <= _CROWDED else "" for k in ids]
    picture = draw(image, objects["boxes_yxyx"] * scale, labels, objects.get("scores"), ids)
    return _titled(picture, title, [(class_names[k], COLORS[k % len(COLORS)]) for k in sorted(set(ids))])


def _drawn(image, boxes_yxyx, colors, texts):
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


def _titled(image, title, legend=()):
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


def _grid(drawn, columns):
    """Returns pictures of one size as one, row by row, with thin dark lines between."""
    drawn = [np.pad(picture, [(2, 2), (2, 2), (0, 0)], constant_values=32) for picture in drawn]
    return np.concatenate([np.concatenate(drawn[i:i + columns], axis=1) for i in range(0, len(drawn), columns)])


def _feature_maps(image, levels, channels=4):
    """Returns one picture: a row per level with the image, the mean size of all channels and the strongest ones."""
    factor = -(-192 // max(image.shape[:2]))
    image = image.repeat(factor, axis=0).repeat(factor, axis=1)
    cells = []
    for number, level in enumerate(levels):
        strongest = np.argsort(-level.std(axis=(0, 1)), kind="stable")[:channels]
        cells.append(_titled(image, f"level {number + 1}: {level.shape[0]}x{level.shape[1]}"))
        cells.append(_titled(_heat(np.abs(level).mean(axis=-1), image.shape[:2]), "mean size"))
        cells += [_titled(_heat(level[..., channel], image.shape[:2]), f"channel {channel}") for channel in strongest]
        cells += [np.full_like(cells[0], 32)] * (channels - len(strongest))
    return _grid(cells, channels + 2)


def _heat(values, size):
    """Returns (*size, 3): lowest value dark, highest bright, in matplotlib's viridis."""
    span = values.max() - values.min()
    colors = matplotlib.colormaps["viridis"]((values - values.min()) / (span if span > 0 else 1.0))
    picture = Image.fromarray((colors[..., :3] * 255).astype(np.uint8))
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.NEAREST))


def _thumbnail(image, box_yxyx, side):
    """Returns what is inside a box, as a square without distortion: the box is widened to a square first."""
    (top, left), (bottom, right) = box_yxyx[:2], box_yxyx[2:]
    half = max(bottom - top, right - left, 1.0) / 2
    y, x = (top + bottom) / 2, (left + right) / 2
    corners = np.floor([x - half, y - half]), np.ceil([x + half, y + half])
    picture = Image.fromarray(image).crop([int(value) for value in np.concatenate(corners)])
    return np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR))
