"""The second stage of detectors that classify regions: its output layers, its losses, and the features that it rates."""
import keras
from keras import ops

from training.vision.detection import detector
from training.vision.losses import smooth_l1


def head(shape, classes, units, normal):
    """Returns a keras.Model from the features of regions to their classes, boxes and hidden features.

    shape:   shape of a region's features, (size, size, channels)
    classes: number of classes, without the background
    units:   units of each of the two hidden layers
    normal:  initializer of the class logits
    returns: class logits (regions, classes + 1), the background last; offsets (regions, 4 * classes); hidden (regions, units)
    """
    regions = keras.Input(shape)
    x = keras.layers.Flatten()(regions)
    for number in (1, 2):
        x = keras.layers.Dense(units, "relu", kernel_initializer="he_normal", name=f"box_hidden{number}")(x)
    return keras.Model(regions, [*outputs(x, classes, normal), x], name="box_head")


def outputs(hidden, classes, normal):
    """Returns the class logits (regions, classes + 1) and offsets (regions, 4 * classes) from a region's hidden features."""
    class_logits = keras.layers.Dense(classes + 1, kernel_initializer=normal, dtype="float32", name="class_logits")(hidden)
    box_offsets = keras.layers.Dense(classes * 4, dtype="float32", name="box_offsets",
                                     kernel_initializer=keras.initializers.RandomNormal(stddev=0.001))(hidden)
    return [class_logits, box_offsets]


def classified(head, features, count):
    """Returns class logits (batch, count, classes + 1), offsets (batch, count, classes, 4) and hidden features (batch, count,
    units) of the regions of a batch.

    head:     result of `head`
    features: (batch * count, size, size, channels)
    count:    number of regions of each image
    """
    class_logits, box_offsets, hidden = head(features)
    classes = class_logits.shape[-1] - 1
    return (ops.reshape(class_logits, (-1, count, classes + 1)), ops.reshape(box_offsets, (-1, count, classes, 4)),
            ops.reshape(hidden, (-1, count, hidden.shape[-1])))


def losses(class_logits, box_offsets, regions, matches, weights, targets, coder, beta=1 / 9, regressed=None):
    """Returns the losses {"class": scalar, "offsets": scalar}: means over the sampled regions, as shares of this replica.

    class_logits: (batch, regions, classes + 1), the background last
    box_offsets:  (batch, regions, classes, 4)
    regions:      boxes (batch, regions, 4) in pixels
    matches:      (batch, regions) int32, the index of the object; negative for the background
    weights:      (batch, regions), 1 for the sampled regions and 0 for padding
    targets:      "boxes_yxyx" and "class_ids" of the objects
    coder:        `layers.BoxCoder` of the offsets
    beta:         of the smooth L1 loss
    regressed:    (batch, regions) bool, the regions with a box loss; None: all those of an object
    """
    classes = box_offsets.shape[2]
    is_object = ops.cast(matches >= 0, "float32")
    labels = ops.where(matches >= 0, ops.take_along_axis(targets["class_ids"], ops.maximum(matches, 0), axis=1), classes)
    entropy = ops.sparse_categorical_crossentropy(labels, class_logits, from_logits=True)
    wanted = coder.encode(rows(targets["boxes_yxyx"], matches), regions)
    of_class = ops.one_hot(labels, classes, dtype="float32")[..., None]  # all zero for the background
    error = ops.sum(smooth_l1(ops.sum(box_offsets * of_class, axis=2) - wanted, beta), axis=-1)
    count = ops.sum(weights)
    if regressed is not None:
        is_object = is_object * ops.cast(regressed, "float32")
    return {"class": detector.share(ops.sum(weights * entropy), count),
            "offsets": detector.share(ops.sum(weights * is_object * error), count)}


def rows(values, index):
    """Returns values[b, index[b, i]]; a negative index (no object) takes the first row, whose result has weight 0."""
    return ops.take_along_axis(values, ops.maximum(index, 0)[..., None], axis=1)
