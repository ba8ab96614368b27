"""R-CNN (D3)."""
import keras
from keras import ops

import layers
from apps.detection import outside_regions
from training.vision.detection import detector, pyramid, region_classifier


def build_model(config, spec, steps):
    """Returns a compiled RCNN for images of config.image_size."""
    model = RCNN(
        config.image_size, len(spec.info.class_names), backbone_kind=config.backbone, region_size=config.region_size,
        regions=config.regions, search=config.search, regions_per_image=config.regions_per_image, head_units=config.head_units,
        seed=config.seed, is_compiled=detector.is_compiled(config))
    model.compile(optimizer=detector.optimizer(config, steps))
    return model


class RCNN(outside_regions.OutsideRegionDetector):
    """Each region is cut out of the image, warped to a square and classified by a pass of the whole network.

        crop = RoIWarp(image, region)                      region_size x region_size, 7 % of it context on each side
        hidden = ReLU(dense(ReLU(dense(backbone(crop)))))
        class logits = dense(hidden);  offsets per class = dense(hidden)

        loss = CE(class) + smooth_l1(offsets of regions with an IoU above 0.6),  beta = 1

    each a mean over the sampled regions: `regions_per_image` from each image, up to a quarter of them objects (an IoU of 0.5
    or more), the others background.

    image_size:        side length of the square images, in pixels
    classes:           number of classes, without the background
    backbone_kind:     "small" or "resnet18", the network that reads the warped regions
    region_size:       side of a warped region, in pixels
    regions:           maximum number of regions per image
    search:            variant of selective search, "fast" or "small"
    regions_per_image: regions per image sampled for the losses
    head_units:        units of each of the two hidden layers
    seed:              seed of the sampler
    is_compiled:       whether the model must avoid operations that XLA does not support

    Example:
        >>> import numpy as np
        >>> from apps.detection.rcnn import RCNN
        >>> model = RCNN(64, 3, backbone_kind="small", region_size=32, regions=20, head_units=32)
        >>> model({"image": np.zeros((2, 64, 64, 3), "uint8")})["boxes_yxyx"].shape
        TensorShape([2, 100, 4])

    Source: Girshick et al., 2014, "Rich Feature Hierarchies for Accurate Object Detection and Semantic Segmentation".
    What differs: one training of a softmax with background and of the boxes instead of fine-tuning, one SVM and one ridge
    regression for each class; the regions and their thresholds are those of the paper's fine-tuning. Training from random
    weights, and therefore batch normalization; AdamW (see `detector.optimizer`). For the regions, see `region_search.regions`.
    """

    def __init__(self, image_size, classes, *, backbone_kind="resnet18", region_size=224, regions=2000, search="fast",
                 regions_per_image=64, head_units=1024, seed=0, is_compiled=False):
        super().__init__(image_size, classes, regions=regions, search=search, regions_per_image=regions_per_image,
                         least_regressed=0.6, seed=seed, name="rcnn")
        self.warp = layers.RoIWarp(region_size, round(region_size * 16 / 227), xla=is_compiled)
        crops = keras.Input((region_size, region_size, 3), name="crop")
        maps = pyramid.KINDS[backbone_kind](crops)
        self.backbone = keras.Model(crops, maps, name="backbone")
        normal = keras.initializers.RandomNormal(stddev=0.01)
        self.box_head = region_classifier.head(maps[-1].shape[1:], classes, head_units, normal)
        self.built = True

    def classify(self, images, regions_yxyx, training):
        crops = self.warp(regions_yxyx, ops.cast(images, "float32") / 64 - 2.0)  # about zero mean and unit variance
        maps = self.backbone(ops.reshape(crops, (-1, *crops.shape[2:])), training=training)
        return region_classifier.classified(self.box_head, maps[-1], regions_yxyx.shape[1])

    def pyramid_features(self, images):
        """Returns the feature maps of the image as a single region, fine to coarse, each (batch, height, width, filters)."""
        whole = ops.convert_to_tensor([[[0.0, 0.0, self.image_size, self.image_size]]])
        whole = ops.broadcast_to(whole, (ops.shape(images)[0], 1, 4))
        return self.backbone(self.warp(whole, ops.cast(images, "float32") / 64 - 2.0)[:, 0], training=False)
