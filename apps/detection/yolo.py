"""YOLO, version 1 (D6)."""
import keras
import numpy as np
from keras import ops

import layers
from layers import boxes
from training.errors import UserError
from training.vision.detection import detector, pyramid


def build_model(config, spec, steps):
    """Returns a compiled YOLO for images of config.image_size.

    Raises:
        UserError: the image cannot be divided into that many cells.
    """
    model = YOLO(config.image_size, len(spec.info.class_names), backbone_kind=config.backbone, cells=config.cells,
                 boxes_per_cell=config.boxes_per_cell, head_layers=config.head_layers, head_filters=config.head_filters)
    model.compile(optimizer=detector.optimizer(config, steps))
    return model


class YOLO(detector.Detector):
    """A one-stage detector without anchors: each cell of one grid predicts a few boxes and, once, the class of its object.

        x = head(backbone(image))                    `cells` x `cells` x (5 * `boxes_per_cell` + classes), all linear
        box j of a cell: center (dy, dx) as a fraction of the cell, square roots of height and width as fractions of the image
        score of a class = probability(class | object in the cell) * confidence(box j)

        loss = 5 * [(dy - dy')^2 + (dx - dx')^2 + (sqrt h - sqrt h')^2 + (sqrt w - sqrt w')^2]    responsible boxes
             + (confidence - IoU(box, object))^2                                                  responsible boxes
             + 0.5 * confidence^2                                                                 all other boxes
             + sum over classes of (probability - one_hot(class))^2                               cells with an object
        summed over the boxes and cells of an image, mean over images

    The cell that contains the center of an object predicts it, and of its boxes the one with the largest IoU is responsible; if
    none of them overlaps the object, the one with the smallest squared error is, as in the authors' code. Of several objects
    with their centers in one cell, the first one in the annotations is predicted and the others are not. Boxes of cells that
    overlap an ignored object are not trained to have no confidence. Before training, the boxes lie in the middle of their cells,
    and those of one cell have different sizes, so that each of them becomes responsible for some objects.

    image_size:     side length of the square images, in pixels
    classes:        number of classes, without the background
    backbone_kind:  "small" or "resnet18", the network below the head
    cells:          cells per side of the grid (S in the paper); a cell's side is a power of two of 4 pixels or more
    boxes_per_cell: boxes that each cell predicts (B in the paper)
    head_layers:    3x3 convolutions between backbone and output; there are more if the backbone has a finer grid
    head_filters:   channels of each of them

    Example:
        >>> import numpy as np
        >>> from apps.detection.yolo import YOLO
        >>> model = YOLO(64, 3, backbone_kind="small", cells=4, head_layers=1, head_filters=16)
        >>> model({"image": np.zeros((2, 64, 64, 3), "uint8")})["boxes_yxyx"].shape
        TensorShape([2, 100, 4])

    Source: Redmon et al., 2016, "You Only Look Once: Unified, Real-Time Object Detection", section 2; that the network predicts
    square roots and that the target of the confidence is the IoU with the predicted box are in the authors' code as well.
    What differs: training from random weights with a ResNet as the backbone, and therefore batch normalization; the last layers
    are convolutions instead of two dense layers, so each cell sees only its surroundings, and there are far fewer weights;
    AdamW (see `detector.optimizer`); small initial weights in the last layer, with the boxes above as its bias; scores are
    limited to the range from 0 to 1.
    """

    def __init__(self, image_size, classes, *, backbone_kind="resnet18", cells=7, boxes_per_cell=2, head_layers=4,
                 head_filters=1024):
        super().__init__(image_size, classes, ("box", "object", "no_object", "class"), name="yolo")
        self.cells, self.boxes_per_cell = cells, boxes_per_cell
        stride = _stride(image_size, cells)
        images = keras.Input((image_size, image_size, 3), name="image")
        maps = pyramid.KINDS[backbone_kind](keras.layers.Rescaling(1 / 64, -2.0)(images))
        strides = [4 * 2 ** level for level in range(len(maps))]
        x = maps[strides.index(min(stride, strides[-1]))]
        for number in range(1, int(np.log2(stride / min(stride, strides[-1]))) + 1):
            x = _convolution(x, head_filters, 2, f"reduction{number}")
        for number in range(1, head_layers + 1):
            x = _convolution(x, head_filters, 1, f"head{number}")
        predicted = keras.layers.Conv2D(
            boxes_per_cell * 5 + classes, 1, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            bias_initializer=_first_bias(boxes_per_cell), dtype="float32", name="output")(x)
        self.network = keras.Model(images, [predicted, x], name="network")
        self.built = True

    def losses(self, images, targets, training):
        offsets, confidence, probabilities = self._predicted(images, training)
        has_object, objects, class_ids = self._objects_of_cells(targets)
        wanted = self._encoded(objects)[:, :, None]  # (batch, cells, 1, 4)
        predicted = ops.stop_gradient(self._decoded(offsets))
        overlap = _iou(predicted, objects[:, :, None])  # (batch, cells, boxes)
        responsible = self._responsible(overlap, predicted, objects) * has_object[..., None]
        may_be_empty = self._may_be_empty(targets)[..., None]

        box = ops.sum(responsible * ops.sum(ops.square(offsets - wanted), axis=-1))
        found = ops.sum(responsible * ops.square(confidence - overlap))
        empty = ops.sum((1 - responsible) * may_be_empty * ops.square(confidence))
        one_hot = ops.one_hot(class_ids, self.classes, dtype="float32")
        class_error = ops.sum(has_object[..., None] * ops.square(probabilities - one_hot))
        count = ops.cast(ops.shape(offsets)[0], "float32")
        return {"box": detector.share(5.0 * box, count), "object": detector.share(found, count),
                "no_object": detector.share(0.5 * empty, count), "class": detector.share(class_error, count)}

    def class_scores(self, images):
        offsets, confidence, probabilities = self._predicted(images, training=False)
        scores = confidence[..., None] * probabilities[:, :, None]  # (batch, cells, boxes, classes)
        places = scores.shape[1] * self.boxes_per_cell
        return (ops.reshape(ops.clip(scores, 0.0, 1.0), (-1, places, self.classes)),
                ops.reshape(self._decoded(offsets), (-1, places, 1, 4)))

    def pyramid_features(self, images):
        """Returns the one feature map, (batch, cells, cells, head_filters), in a list."""
        return [self.network(images, training=False)[1]]

    def embed(self, images, boxes_yxyx):
        """Returns the features of the cells that contain the centers of given boxes: (batch, boxes, head_filters)."""
        features = self.pyramid_features(images)[0]
        features = ops.reshape(features, (-1, self.cells ** 2, features.shape[-1]))
        return ops.take_along_axis(features, self._cell_of(boxes_yxyx)[..., None], axis=1)

    def _predicted(self, images, training):
        """Returns offsets (batch, cells, boxes, 4), confidences (batch, cells, boxes) and class probabilities (batch, cells,
        classes), with the cells row by row."""
        x = ops.reshape(self.network(images, training=training)[0], (-1, self.cells ** 2, self.boxes_per_cell * 5 + self.classes))
        per_box = ops.reshape(x[..., :self.boxes_per_cell * 5], (-1, self.cells ** 2, self.boxes_per_cell, 5))
        return per_box[..., :4], per_box[..., 4], x[..., self.boxes_per_cell * 5:]

    def _corners(self):
        """Returns ymin and xmin of each cell in pixels, (cells, 2)."""
        corners = np.stack(np.meshgrid(*[np.arange(self.cells)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
        return (corners * (self.image_size / self.cells)).astype("float32")

    def _decoded(self, offsets):
        """Returns boxes_yxyx in pixels, (batch, cells, boxes, 4)."""
        center = self._corners()[:, None] + offsets[..., :2] * (self.image_size / self.cells)
        half = ops.square(offsets[..., 2:]) * (self.image_size / 2)
        return ops.concatenate([center - half, center + half], axis=-1)

    def _encoded(self, boxes_yxyx):
        """Returns the offsets (batch, cells, 4) that each cell should predict for its box (batch, cells, 4)."""
        low, high = boxes_yxyx[..., :2], boxes_yxyx[..., 2:]
        center = ((low + high) / 2 - self._corners()) / (self.image_size / self.cells)
        return ops.concatenate([center, ops.sqrt((high - low) / self.image_size)], axis=-1)

    def _cell_of(self, boxes_yxyx):
        """Returns the cell that contains the center of each box, (batch, objects) int32."""
        center = (boxes_yxyx[..., :2] + boxes_yxyx[..., 2:]) / 2
        cell = ops.clip(ops.floor(center * (self.cells / self.image_size)), 0, self.cells - 1)
        return ops.cast(cell[..., 0] * self.cells + cell[..., 1], "int32")

    def _objects_of_cells(self, targets):
        """Returns whether each cell has an object, (batch, cells) of 0 and 1, that object's box and its class; all zeros and -1
        without an object."""
        present = ops.logical_and(targets["class_ids"] >= 0, ops.logical_not(targets["ignore"]))
        is_inside = self._cell_of(targets["boxes_yxyx"])[..., None] == ops.arange(self.cells ** 2)
        is_inside = ops.cast(ops.logical_and(is_inside, present[..., None]), "int32")  # (batch, objects, cells)
        first = ops.argmax(is_inside, axis=1)  # the first of equals
        has_object = ops.max(is_inside, axis=1) > 0
        objects = ops.take_along_axis(targets["boxes_yxyx"], first[..., None], axis=1)
        class_ids = ops.take_along_axis(targets["class_ids"], first, axis=1)
        return (ops.cast(has_object, "float32"), ops.where(has_object[..., None], objects, 0.0),
                ops.where(has_object, class_ids, -1))

    def _responsible(self, overlap, predicted, objects):
        """Returns 1 for the box of each cell that would predict its object, and 0 for the others: (batch, cells, boxes)."""
        def center_and_sides(boxes_yxyx):
            low, high = boxes_yxyx[..., :2], boxes_yxyx[..., 2:]
            return ops.concatenate([(low + high) / 2, high - low], axis=-1)

        error = ops.sum(ops.square(center_and_sides(predicted) - center_and_sides(objects)[:, :, None]), axis=-1)
        is_found = ops.max(overlap, axis=-1) > 0
        best = ops.where(is_found, ops.argmax(overlap, axis=-1), ops.argmin(error, axis=-1))
        return ops.one_hot(best, self.boxes_per_cell, dtype="float32")

    def _may_be_empty(self, targets):
        """Returns 0 for the cells that overlap an ignored object and 1 for the others, (batch, cells)."""
        corners = self._corners()
        cells = np.concatenate([corners, corners + self.image_size / self.cells], axis=-1)
        shared = boxes.intersection(ops.convert_to_tensor(cells), targets["boxes_yxyx"])  # (batch, cells, objects)
        ignored = ops.logical_and(targets["class_ids"] >= 0, targets["ignore"])[:, None]
        return 1 - ops.cast(ops.any(ops.logical_and(shared > 0, ignored), axis=-1), "float32")


def _iou(boxes_a, boxes_b):
    """Returns the intersection over union of boxes (..., 4) one by one; the shapes broadcast."""
    low = ops.maximum(boxes_a[..., :2], boxes_b[..., :2])
    high = ops.minimum(boxes_a[..., 2:], boxes_b[..., 2:])
    shared = ops.prod(ops.maximum(high - low, 0.0), axis=-1)
    union = boxes.area(boxes_a) + boxes.area(boxes_b) - shared
    return ops.where(union > 0, shared / ops.where(union > 0, union, 1.0), 0.0)


def _stride(image_size, cells):
    """Returns the side of a cell in pixels.

    Raises:
        UserError: it is not a power of two of 4 or more.
    """
    stride = image_size // cells
    if image_size % cells or stride < 4 or stride & (stride - 1):
        possible = [image_size // side for side in (2 ** power for power in range(2, 16)) if image_size % side == 0]
        words = f"choose one of {', '.join(map(str, possible))}" if possible else "choose a multiple of 32 as the --image-size"
        raise UserError(f"--cells {cells} does not fit --image-size {image_size}: {words}")
    return stride


def _first_bias(boxes_per_cell):
    """Returns the initializer of the last layer's bias: boxes in the middle of the cell, of different sizes."""
    def bias(shape, dtype=None):
        values = np.zeros(shape)
        for number in range(boxes_per_cell):
            values[number * 5:number * 5 + 4] = [0.5, 0.5, *[(number + 1) / (boxes_per_cell + 1)] * 2]
        return ops.convert_to_tensor(values, dtype)
    return bias


def _convolution(x, filters, strides, name):
    """Returns `x` after a 3x3 convolution, batch normalization and the paper's leaky ReLU."""
    x = keras.layers.Conv2D(filters, 3, strides, padding="same", use_bias=False, kernel_initializer="he_normal", name=name)(x)
    return keras.layers.LeakyReLU(0.1)(layers.BatchNormalization(name=f"{name}_normalization")(x))
