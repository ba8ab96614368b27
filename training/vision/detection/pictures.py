"""Pictures: detections and ground truth, matched anchors, proposals, feature maps, and an embedding of boxes."""
import itertools

import keras
import numpy as np

from training.app import Rendered
from training.vision import drawing
from training.vision.detection import metrics
from training.vision.detection.settings import SHOWN_SCORE

_HIT, _OTHER = drawing.COLORS[1], drawing.COLORS[0]
_CROWDED = 12
"""objects on one image beyond which names would hide it: the colors in its title tell the classes"""


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
    objects, detections, proposals = metrics.detect(model, [batch], config, proposals=True)
    # the squares are filled from the top left: what no image of these reaches is not shown
    used = [int(np.ceil((targets[side].numpy()[:count] * scale).max())) for side in ("height", "width")]
    used = np.clip(used, 1, images.shape[1])
    shown = drawing.uint8(images[:count])[:, :used[0], :used[1]]
    names = info.class_names

    drawn = []
    for image, real, found, ratio in zip(shown, objects, detections, scale):
        good = found["scores"] >= SHOWN_SCORE
        found = {name: found[name][good] for name in ("boxes_yxyx", "scores", "class_ids")}
        drawn.append(np.concatenate([_labelled(image, real, ratio, names, "truth"),
                                     _labelled(image, found, ratio, names, "found")]))
    made = {"detections": np.stack(drawn)}

    if proposals is not None:
        drawn = []
        for image, real, proposed, ratio in zip(shown, objects, proposals, scale):
            best = np.argsort(-proposed["scores"], kind="stable")[:30][::-1]  # the best is drawn last, on top
            best = best[proposed["scores"][best] > 0]  # 0 is padding
            boxes = proposed["boxes_yxyx"][best]
            covers = (metrics.intersection_over_union(boxes, real["boxes_yxyx"]) >= 0.5).any(axis=1)
            drawn.append(drawing.boxes(image, boxes * ratio, [_HIT if c else _OTHER for c in covers], [""] * len(boxes)))
        made["proposals"] = np.stack(drawn)

    matched = model.matched_anchors(targets["boxes_yxyx"][:count], targets["class_ids"][:count])
    if matched is not None:
        drawn = []
        for image, real, mine, ratio in zip(shown, objects, keras.ops.convert_to_numpy(matched), scale):
            anchors, boxes = np.asarray(model.anchors)[mine.astype(bool)], real["boxes_yxyx"] * ratio
            colors = [_HIT] * len(anchors) + [drawing.COLORS[7]] * len(boxes)
            drawn.append(drawing.boxes(image, np.concatenate([anchors, boxes]), colors, [""] * len(colors)))
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
        images = drawing.uint8(inputs["image"])
        for row, place in zip(*np.nonzero(targets["class_ids"] >= 0)):
            box = targets["boxes_yxyx"][row, place]
            area = np.prod((box[2:] - box[:2]) / targets["scale"][row])
            vectors.append(features[row, place])
            metadata.append({
                "class": info.class_names[targets["class_ids"][row, place]],
                "size": "small" if area < 32 ** 2 else "medium" if area < 96 ** 2 else "large",
                "image": int(targets["image_id"][row])})
            thumbnails.append(drawing.thumbnail(images[row], box, side))
        if len(vectors) >= most:
            break
    if not vectors:
        return {}
    return {"objects": (np.array(vectors[:most], np.float32), metadata[:most], np.array(thumbnails[:most], np.uint8))}


def _labelled(image, objects, scale, class_names, title):
    """Draws truth or detections, which are in pixels of the original, under a title that tells the colors."""
    ids = [int(k) for k in objects["class_ids"]]
    labels = [class_names[k] if len(ids) <= _CROWDED else "" for k in ids]
    picture = drawing.draw(image, objects["boxes_yxyx"] * scale, labels, objects.get("scores"), ids)
    return drawing.titled(picture, title, [(class_names[k], drawing.COLORS[k % len(drawing.COLORS)]) for k in sorted(set(ids))])


def _feature_maps(image, levels, channels=4):
    """Returns one picture: a row per level with the image, the mean size of all channels and the strongest ones."""
    factor = -(-192 // max(image.shape[:2]))
    image = image.repeat(factor, axis=0).repeat(factor, axis=1)
    cells = []
    for number, level in enumerate(levels):
        strongest = np.argsort(-level.std(axis=(0, 1)), kind="stable")[:channels]
        cells.append(drawing.titled(image, f"level {number + 1}: {level.shape[0]}x{level.shape[1]}"))
        cells.append(drawing.titled(drawing.heat(np.abs(level).mean(axis=-1), image.shape[:2]), "mean size"))
        cells += [drawing.titled(drawing.heat(level[..., channel], image.shape[:2]), f"channel {channel}")
                  for channel in strongest]
        cells += [np.full_like(cells[0], 32)] * (channels - len(strongest))
    return drawing.grid(cells, channels + 2)
