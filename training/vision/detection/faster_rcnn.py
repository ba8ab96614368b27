"""Faster R-CNN over a feature pyramid (D5)."""
import keras
import numpy as np
import tensorflow as tf
from keras import ops

import layers
from training.errors import UserError
from training.vision.detection import detector, pyramid, region_classifier
from training.vision.detection.region_classifier import rows
from training.vision.losses import smooth_l1


def arguments(config):
    """Returns the arguments of `FasterRCNN` besides image size and classes, from the settings of a `settings.TwoStage`."""
    return dict(
        backbone_kind=config.backbone, pyramid_filters=config.pyramid_filters, extra_levels=config.extra_levels,
        min_anchor_stride=config.min_anchor_stride, anchor_scale=config.anchor_scale, anchor_octaves=config.anchor_octaves,
        anchor_ratios=config.anchor_ratios, proposals=config.proposals, regions_per_image=config.regions_per_image,
        region_levels=config.region_levels, head_units=config.head_units, seed=config.seed,
        is_compiled=detector.is_compiled(config))


class FasterRCNN(detector.Detector):
    """A two-stage detector: one network proposes regions, and another one classifies and refines them.

        pyramid = FPN(backbone(image))
        objectness, offsets = conv1x1(ReLU(conv3x3(pyramid[l])))           per level and anchor, weights shared by levels
        regions = the best `proposals` boxes after non-maximum suppression at 0.7
        hidden = ReLU(dense(ReLU(dense(RoIAlign(pyramid, regions)))))
        class logits = dense(hidden);  offsets per class = dense(hidden)

        loss = BCE(objectness) + smooth_l1(offsets of anchors) + CE(class) + smooth_l1(offsets of regions)

    each a mean over the sampled anchors (256, up to half of them objects) or regions (`regions_per_image`, up to half of
    them). Anchors with an IoU above 0.7, or the best IoU for an object, are objects, and those below 0.3 are background;
    regions above 0.5 are objects.

    image_size:        side length of the square images, in pixels
    classes:           number of classes, without the background
    backbone_kind:     "small" or "resnet18", the network below the pyramid
    pyramid_filters:   channels of each level of the pyramid
    extra_levels:      coarser levels in addition to those of the backbone
    min_anchor_stride: stride of the finest level with anchors, in pixels
    anchor_scale, anchor_octaves, anchor_ratios: side length of a level's smallest anchor in strides, number of sizes per
                       level, and aspect ratios (height / width)
    proposals:         region proposals per image that the second stage classifies
    regions_per_image: regions per image sampled to train the second stage
    region_levels:     pyramid levels from which region features are pooled
    head_units:        units of each of the second stage's two hidden layers
    seed:              seed of the samplers
    is_compiled:       whether the model must avoid operations that XLA does not support

    Example:
        >>> import numpy as np
        >>> from training.vision.detection.faster_rcnn import FasterRCNN
        >>> model = FasterRCNN(64, 3, backbone_kind="small", pyramid_filters=16, extra_levels=0, min_anchor_stride=8,
        ...                    anchor_scale=2.0, proposals=20, region_levels=1, head_units=32)
        >>> found = model({"image": np.zeros((2, 64, 64, 3), "uint8")})
        >>> found["boxes_yxyx"].shape, found["class_ids"].shape
        (TensorShape([2, 100, 4]), TensorShape([2, 100]))

    Source: Ren et al., 2015, "Faster R-CNN"; Lin et al., 2017, "Feature Pyramid Networks", section 4.
    What differs: training end to end from random weights, and therefore batch normalization in backbone and pyramid; RoI align
    instead of RoI pooling; AdamW (see `detector.optimizer`); the true boxes join the regions in training, as in the authors'
    code; half, not a quarter, of the sampled regions may be objects.
    """

    LOSSES = ("objectness", "proposal_offsets", "class", "offsets")
    """names of the losses"""

    def __init__(self, image_size, classes, *, backbone_kind="resnet18", pyramid_filters=256, extra_levels=1, min_anchor_stride=4,
                 anchor_scale=8.0, anchor_octaves=1, anchor_ratios=(0.5, 1.0, 2.0), proposals=300, regions_per_image=128,
                 region_levels=4, head_units=1024, seed=0, is_compiled=False, name="faster_rcnn"):
        super().__init__(image_size, classes, self.LOSSES, name=name)
        self.backbone, strides = pyramid.build(image_size, backbone_kind, pyramid_filters, extra_levels)
        levels = pyramid.anchor_levels(strides, min_anchor_stride)
        if region_levels > len(strides):
            raise UserError(f"--region-levels {region_levels} must be at most {len(strides)}, the number of pyramid levels")
        self.first_level = strides.index(levels[0])
        self.anchor_layer = layers.Anchors(
            levels, pyramid.anchor_sizes(levels, anchor_scale, anchor_octaves), anchor_ratios)
        self.anchors = self.anchor_layer.of(image_size, image_size)
        per_cell = len(self.anchor_layer.sizes[0]) * len(self.anchor_layer.ratios)
        self.cells = [(-(-image_size // stride)) ** 2 for stride in levels]
        self.per_cell = per_cell

        features = keras.Input((None, None, pyramid_filters))
        normal = keras.initializers.RandomNormal(stddev=0.01)
        x = keras.layers.Conv2D(pyramid_filters, 3, padding="same", activation="relu",
                                kernel_initializer="he_normal", name="proposal_convolution")(features)
        logits = keras.layers.Conv2D(per_cell, 1, kernel_initializer=normal, name="proposal_logits")(x)
        offsets = keras.layers.Conv2D(per_cell * 4, 1, kernel_initializer=normal, name="proposal_offsets")(x)
        self.proposal_head = keras.Model(features, [logits, offsets], name="proposal_head")

        # regions of 112 pixels and less (at 8 pixels of anchor per pixel of stride) are read from the finest map
        self.align = layers.RoIAlign(7, strides[:region_levels], canonical_size=28 * anchor_scale, xla=is_compiled)
        self.box_head = region_classifier.head((7, 7, pyramid_filters), classes, head_units, normal)

        self.anchor_coder = layers.BoxCoder()
        self.box_coder = layers.BoxCoder((10.0, 10.0, 5.0, 5.0))
        self.anchor_matcher = layers.BoxMatcher(0.7, 0.3, force=True)
        self.region_matcher = layers.BoxMatcher(0.5, 0.5)
        self.anchor_sampler = layers.BalancedSampler(256, 0.5, seed=seed)
        self.region_sampler = layers.BalancedSampler(regions_per_image, 0.5, seed=seed + 1)
        self.regions = layers.RegionProposals(proposals, (image_size, image_size), iou_threshold=0.7)
        self.built = True

    def losses(self, images, targets, training):
        objects, class_ids = targets["boxes_yxyx"], targets["class_ids"]
        present, ignore = class_ids >= 0, targets["ignore"]
        pyramid = self.backbone(images, training=training)
        anchors = ops.convert_to_tensor(self.anchors)
        matches = self.anchor_matcher(anchors, objects, present, ignore)
        index, weights = self.anchor_sampler(matches, training=training)
        matches = ops.take_along_axis(matches, index, axis=1)
        is_object = ops.cast(matches >= 0, "float32")
        logits, offsets = self.propose_at(pyramid, index)
        entropy = ops.binary_crossentropy(is_object, logits, from_logits=True)
        sampled_anchors = ops.take(anchors, index, axis=0)
        wanted = self.anchor_coder.encode(rows(objects, matches), sampled_anchors)
        error = ops.sum(smooth_l1(offsets - wanted), axis=-1)
        count = ops.sum(weights)
        losses = {"objectness": detector.share(ops.sum(weights * entropy), count),
                  "proposal_offsets": detector.share(ops.sum(weights * is_object * error), count)}

        regions, _, valid = self._regions(*self._propose([ops.stop_gradient(maps) for maps in pyramid]))
        if training:  # the true boxes join, so that the second stage sees objects from the first step on
            regions = ops.concatenate([regions, objects], axis=1)
            valid = ops.concatenate([valid, ops.logical_and(present, ops.logical_not(ignore))], axis=1)
        matches = self.region_matcher(regions, objects, present, ignore)
        matches = ops.where(valid, matches, -2)
        index, weights = self.region_sampler(matches, training=training)
        matches = ops.take_along_axis(matches, index, axis=1)
        return losses | self.region_losses(pyramid, rows(regions, index), matches, weights, targets, training)

    def region_losses(self, pyramid, regions, matches, weights, targets, training):
        """Returns the losses {name: scalar} of the second stage.

        Shape:
            pyramid: list of feature maps, see `pyramid_features`
            regions: (batch, samples, 4) in pixels, those that are objects first
            matches: (batch, samples) int32, the index of the region's object, negative for the background
            weights: (batch, samples), 0 or 1
            targets: as in `losses`
        """
        class_logits, box_offsets, _ = self._classify(pyramid, regions)
        return region_classifier.losses(class_logits, box_offsets, regions, matches, weights, targets, self.box_coder)

    def class_scores(self, images):
        return self.region_scores(self.backbone(images, training=False))

    def region_scores(self, pyramid):
        """Returns what `class_scores` returns, of the feature maps."""
        regions, _, valid = self._regions(*self._propose(pyramid))
        class_logits, box_offsets, _ = self._classify(pyramid, regions)
        scores = ops.softmax(class_logits, axis=-1)[..., :-1] * ops.cast(valid, "float32")[..., None]
        return scores, self.box_coder(box_offsets, regions[:, :, None])

    def propose(self, images):
        """Returns regions boxes_yxyx (batch, proposals, 4) in pixels and scores (batch, proposals), 0 where padded."""
        return self._regions(*self._propose(self.backbone(images, training=False)))[:2]

    def pyramid_features(self, images):
        """Returns the feature maps, fine to coarse, each (batch, height, width, filters)."""
        return self.backbone(images, training=False)

    def embed(self, images, boxes_yxyx):
        """Returns the last hidden layer for given boxes: (batch, boxes, 4) in pixels give (batch, boxes, head_units)."""
        return self._classify(self.backbone(images, training=False), boxes_yxyx)[2]

    def matched_anchors(self, boxes_yxyx, class_ids):
        """Returns which of `anchors` are matched to an object in training: (batch, anchors) bool."""
        present = class_ids >= 0
        return self.anchor_matcher(ops.convert_to_tensor(self.anchors), boxes_yxyx, present, ops.zeros_like(present)) >= 0

    def propose_at(self, pyramid, index):
        """Returns the outputs of the proposal network for some anchors: logits (batch, samples), offsets (batch, samples, 4).

        index: positions in `anchors`, (batch, samples)

        The loss needs only 256 of tens of thousands of anchors per image, and the gradients take most of the training time of
        a convolution. Therefore the network runs once over all maps without gradients, and once at these positions with
        gradients.
        """
        convolution, to_logits, to_offsets = map(
            self.proposal_head.get_layer, ("proposal_convolution", "proposal_logits", "proposal_offsets"))
        maps = pyramid[self.first_level:]
        cells = ops.concatenate([ops.reshape(ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))),
                                             (-1, (x.shape[1] + 2) * (x.shape[2] + 2), x.shape[3])) for x in maps], axis=1)
        places = ops.take(self._neighbors([x.shape[1:3] for x in maps]), index // self.per_cell, axis=0)
        samples, filters = index.shape[1], cells.shape[-1]
        patches = tf.gather(cells, places, batch_dims=1)  # (batch, samples, 9, filters)

        def dense(layer, x):
            kernel = ops.cast(ops.reshape(layer.kernel, (x.shape[-1], -1)), x.dtype)
            return ops.matmul(x, kernel) + ops.cast(layer.bias, x.dtype)

        x = ops.relu(dense(convolution, ops.reshape(patches, (-1, samples, 9 * filters))))
        anchor = (index % self.per_cell)[..., None]
        logits = ops.take_along_axis(dense(to_logits, x), anchor, axis=-1)[..., 0]
        offsets = ops.reshape(dense(to_offsets, x), (-1, samples, self.per_cell, 4))
        offsets = ops.take_along_axis(offsets, anchor[..., None], axis=2)[:, :, 0]
        return ops.cast(logits, "float32"), ops.cast(offsets, "float32")

    @staticmethod
    def _neighbors(sizes):
        """Returns where the 3x3 around each cell lie among all levels' cells, each level padded by one: (cells, 9)."""
        found, first = [], 0
        for height, width in sizes:
            places = first + np.arange((height + 2) * (width + 2), dtype="int32").reshape(height + 2, width + 2)
            around = np.lib.stride_tricks.sliding_window_view(places, (3, 3))
            found.append(around.reshape(-1, 9))
            first += places.size
        return np.concatenate(found)

    def _propose(self, pyramid):
        """Returns the proposal network's logits and offsets as lists, per level (batch, anchors) and (batch, anchors, 4)."""
        logits, offsets = [], []
        for cells, maps in zip(self.cells, pyramid[self.first_level:]):
            level_logits, level_offsets = self.proposal_head(maps)
            logits.append(ops.cast(ops.reshape(level_logits, (-1, cells * self.per_cell)), "float32"))
            offsets.append(ops.cast(ops.reshape(level_offsets, (-1, cells * self.per_cell, 4)), "float32"))
        return logits, offsets

    def _regions(self, logits, offsets):
        limits = np.cumsum([0] + [cells * self.per_cell for cells in self.cells])
        decoded = [self.anchor_coder(level, ops.convert_to_tensor(self.anchors[first:last]))
                   for level, first, last in zip(offsets, limits, limits[1:])]
        return self.regions([ops.stop_gradient(b) for b in decoded], [ops.stop_gradient(x) for x in logits])

    def _classify(self, pyramid, regions):
        """Returns class logits (batch, regions, classes + 1), offsets (batch, regions, classes, 4) and hidden features."""
        aligned = self.align(regions, pyramid[:len(self.align.strides)])
        return region_classifier.classified(self.box_head, ops.reshape(aligned, (-1, *aligned.shape[2:])), regions.shape[1])
