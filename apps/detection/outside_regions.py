"""What the detectors with regions from outside the network share: the regions themselves, and a sample of them to train on."""
from keras import ops

import layers
from layers import boxes
from training.engine.subclasses import must_define
from training.vision.detection import detector, region_classifier, region_search


class OutsideRegionDetector(detector.Detector):
    """A detector that classifies and refines the regions of selective search.

    A system defines its `backbone`, a model from images to feature maps, and `classify`. The loss is

        CE(class) + smooth_l1(offsets of objects),  beta = 1

    each a mean over the sampled regions: up to a quarter of them objects with an IoU of 0.5 or more, the others background. The
    true boxes join the regions. The regions are an input, "regions_yxyx", where the data has
    them. Without that input, as in an export, the model searches them itself and finds the same ones.

    image_size:        side length of the square images, in pixels
    classes:           number of classes, without the background
    regions:           maximum number of regions per image
    search:            variant of the search, a key of `region_search.SEARCHES`
    regions_per_image: regions per image sampled for the losses
    least_background:  regions with a smaller IoU with the objects are not sampled, except in images without objects
    least_regressed:   only the objects with at least this IoU have a box loss
    seed:              seed of the sampler
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        must_define(cls, OutsideRegionDetector, "classify")

    def __init__(self, image_size, classes, *, regions, search, regions_per_image, least_background=0.0, least_regressed=0.5,
                 seed=0, **kwargs):
        super().__init__(image_size, classes, ("class", "offsets"), iou_threshold=0.3, **kwargs)
        self.regions, self.search = regions, region_search.SEARCHES[search]
        self.least_background, self.least_regressed = least_background, least_regressed
        self.box_coder = layers.BoxCoder((10.0, 10.0, 5.0, 5.0))
        self.matcher = layers.BoxMatcher(0.5, 0.5)
        self.sampler = layers.BalancedSampler(regions_per_image, 0.25, seed=seed)

    def train_step(self, data):
        return super().train_step(_joined(*data))

    def test_step(self, data):
        return super().test_step(_joined(*data))

    def call(self, inputs, training=False):
        return self.detect(inputs["image"], inputs.get("regions_yxyx"))

    def detect(self, images, regions_yxyx=None):
        """Returns the detections of a batch as every detector does, from given regions (batch, regions, 4) or from a search."""
        return self.select(*self.class_scores(images, regions_yxyx))

    def class_scores(self, images, regions_yxyx=None):
        if regions_yxyx is None:
            regions_yxyx = self.searched(images)
        class_logits, box_offsets, _ = self.classify(images, regions_yxyx, training=False)
        scores = ops.softmax(class_logits, axis=-1)[..., :-1] * ops.cast(is_region(regions_yxyx), "float32")[..., None]
        return scores, self.box_coder(box_offsets, regions_yxyx[:, :, None])

    def losses(self, images, targets, training):
        regions, matches, weights, overlaps = self._sampled(targets, training)
        class_logits, box_offsets, _ = self.classify(images, regions, training)
        return region_classifier.losses(class_logits, box_offsets, regions, matches, weights, targets, self.box_coder, beta=1.0,
                                        regressed=overlaps >= self.least_regressed)

    def searched(self, images):
        """Returns the regions of images, (batch, regions, 4) in pixels, 0 where padded; XLA cannot compile this."""
        return region_search.regions(images, self.regions, self.search)[0]

    def propose(self, images, regions_yxyx=None):
        """Returns regions (batch, regions, 4) in pixels and scores by rank (batch, regions), 0 where padded."""
        if regions_yxyx is None:
            regions_yxyx = self.searched(images)
        scores = 1.0 - ops.arange(self.regions, dtype="float32") / self.regions
        return regions_yxyx, scores * ops.cast(is_region(regions_yxyx), "float32")

    def embed(self, images, boxes_yxyx):
        """Returns the last hidden layer for given boxes: (batch, boxes, 4) in pixels give (batch, boxes, features)."""
        return self.classify(images, boxes_yxyx, training=False)[2]

    def classify(self, images, regions_yxyx, training):
        """Returns class logits (batch, regions, classes + 1), offsets (batch, regions, classes, 4) and hidden features (batch,
        regions, features)."""

    def pyramid_features(self, images):
        """Returns the feature maps, fine to coarse, each (batch, height, width, filters)."""
        return self.backbone(images, training=False)

    def _sampled(self, targets, training):
        """Returns a sample of the regions to train on: boxes (batch, samples, 4), the index of their objects (batch, samples),
        negative for background, weights (batch, samples) of 0 and 1, and overlaps (batch, samples) with the objects."""
        objects, present, ignore = targets["boxes_yxyx"], targets["class_ids"] >= 0, targets["ignore"]
        is_object = ops.logical_and(present, ops.logical_not(ignore))
        regions = ops.concatenate([objects, targets["regions_yxyx"]], axis=1)
        valid = ops.concatenate([is_object, is_region(targets["regions_yxyx"])], axis=1)
        overlap = ops.max(ops.where(is_object[:, None], boxes.iou(regions, objects), 0.0), axis=-1)
        is_sampled = ops.logical_or(overlap >= self.least_background, ops.logical_not(ops.any(is_object, axis=1, keepdims=True)))
        matches = ops.where(ops.logical_and(valid, is_sampled), self.matcher(regions, objects, present, ignore), -2)
        index, weights = self.sampler(matches, training=training)
        regions = region_classifier.rows(regions, index)
        return regions, ops.take_along_axis(matches, index, axis=1), weights, ops.take_along_axis(overlap, index, axis=1)


def is_region(boxes_yxyx):
    """Returns which boxes (batch, regions, 4) are no padding, (batch, regions) bool."""
    return ops.all(boxes_yxyx[..., 2:] > boxes_yxyx[..., :2], axis=-1)


def _joined(inputs, targets):
    return inputs, targets | {"regions_yxyx": inputs["regions_yxyx"]}
