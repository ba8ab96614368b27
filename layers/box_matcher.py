"""Which object each anchor is assigned to."""
import keras
from keras import ops

from layers import boxes

BACKGROUND = -1
NEITHER = -2


@keras.saving.register_keras_serializable(package="layers")
class BoxMatcher(keras.layers.Layer):
    """Assigns to each anchor the object it overlaps most, the background, or neither.

        match[a] = argmax_o iou[a, o]   where max_o iou[a, o] >= foreground
                   -1 (background)      where max_o iou[a, o] <  background
                   -2 (neither)         otherwise

    The objects o are those that are present and not ignored. An anchor without a match also becomes -2 where one
    ignored object covers at least the fraction `foreground` of the anchor's own area. The layer computes in float32
    under every global policy, unless `dtype` says otherwise.

    Args:
        foreground: smallest intersection over union of an anchor and its object.
        background: intersection over union below which an anchor is background, at most `foreground`.
        force: whether each object is also matched to the anchors that overlap it most, however little, even where they
            overlap another object more. Such an anchor of several objects gets the one it overlaps most.

    Shape:
        anchors:    (batch, anchors, 4) or (anchors, 4): ymin, xmin, ymax, xmax in pixels
        boxes_yxyx: (batch, objects, 4): the objects' boxes in pixels
        present:    (batch, objects) bool: false where padded; with no object present all anchors are background
        ignore:     (batch, objects) bool: true for crowds and difficult objects, which are neither object nor
                    background
        returns:    (batch, anchors) int32

    Raises:
        ValueError: 0 < background <= foreground <= 1 does not hold.

    Example:
        >>> import numpy as np
        >>> import layers
        >>> anchors = np.array([[0, 0, 10, 10], [0, 5, 10, 15], [20, 20, 30, 30]], "float32")
        >>> one_object = dict(boxes_yxyx=anchors[None, :1], present=np.array([[True]]), ignore=np.array([[False]]))
        >>> print(layers.BoxMatcher(foreground=0.5, background=0.3)(anchors, **one_object).numpy())
        [[ 0 -2 -1]]

    Source: Ren et al., 2015, "Faster R-CNN", section 3.1.2. Ignored regions follow COCO's evaluation protocol.
    """

    def __init__(self, foreground=0.5, background=0.5, force=False, **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        if not 0 < background <= foreground <= 1:
            raise ValueError(f"0 < background <= foreground <= 1 must hold, got {background} and {foreground}")
        self.foreground = foreground
        self.background = background
        self.force = force
        self.built = True  # no weights

    def call(self, anchors, boxes_yxyx, present, ignore):
        object_ = ops.logical_and(present, ops.logical_not(ignore))[:, None, :]
        overlap = boxes.iou(anchors, boxes_yxyx)  # (batch, anchors, objects)
        overlap = ops.where(object_, overlap, -1.0)
        best = ops.max(overlap, axis=-1)
        index = ops.cast(ops.argmax(overlap, axis=-1), "int32")
        match = ops.where(best >= self.foreground, index, ops.where(best < self.background, BACKGROUND, NEITHER))
        ignored = ops.logical_and(present, ignore)[:, None, :]
        covered = ops.max(ops.where(ignored, boxes.coverage(anchors, boxes_yxyx), 0.0), axis=-1)
        match = ops.where(ops.logical_and(match < 0, covered >= self.foreground), NEITHER, match)
        if self.force:
            largest = ops.max(overlap, axis=1, keepdims=True)  # (batch, 1, objects)
            first = ops.logical_and(ops.logical_and(overlap >= largest, overlap > 0), object_)
            forced = ops.cast(ops.argmax(ops.where(first, overlap, -1.0), axis=-1), "int32")
            match = ops.where(ops.any(first, axis=-1), forced, match)
        return ops.cast(match, "int32")

    def compute_output_shape(self, anchors_shape, boxes_yxyx_shape, present_shape, ignore_shape):
        return (boxes_yxyx_shape[0], anchors_shape[-2])

    def compute_output_spec(self, anchors, boxes_yxyx, present, ignore):
        shape = self.compute_output_shape(anchors.shape, boxes_yxyx.shape, present.shape, ignore.shape)
        return keras.KerasTensor(shape, "int32")

    def get_config(self):
        return super().get_config() | {
            "foreground": self.foreground, "background": self.background, "force": self.force}
