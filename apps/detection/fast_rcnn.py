"""Fast R-CNN (D4)."""
import keras
from keras import ops

import layers
from apps.detection import outside_regions
from training.vision.detection import detector, pyramid, region_classifier


def build_model(config, spec, steps):
    """Returns a compiled FastRCNN for images of config.image_size."""
    model = FastRCNN(
        config.image_size, len(spec.info.class_names), backbone_kind=config.backbone, pyramid_filters=config.pyramid_filters,
        regions=config.regions, search=config.search, regions_per_image=config.regions_per_image, head_units=config.head_units,
        seed=config.seed)
    model.compile(optimizer=detector.optimizer(config, steps))
    return model


class FastRCNN(outside_regions.OutsideRegionDetector):
    """All regions of an image are classified and refined from one feature map, which the network computes once.

        map = FPN(backbone(image))[0]                                        stride 4
        hidden = ReLU(dense(ReLU(dense(RoIPooling(map, regions)))))          7 x 7 bins
        class logits = dense(hidden);  offsets per class = dense(hidden)

        loss = CE(class) + smooth_l1(offsets of objects),  beta = 1

    each a mean over the sampled regions. From each image of a batch come `regions_per_image` regions, which share the computation
    of the map; up to a quarter of them are objects with an IoU of 0.5 or more, and the others are background with an IoU from
    0.1 to 0.5.

    image_size:        side length of the square images, in pixels
    classes:           number of classes, without the background
    backbone_kind:     "small" or "resnet18", the network below the map
    pyramid_filters:   channels of the map
    regions:           maximum number of regions per image
    search:            variant of selective search, "fast" or "small"
    regions_per_image: regions per image sampled for the losses
    head_units:        units of each of the two hidden layers
    seed:              seed of the sampler

    Example:
        >>> import numpy as np
        >>> from apps.detection.fast_rcnn import FastRCNN
        >>> model = FastRCNN(64, 3, backbone_kind="small", pyramid_filters=16, regions=20, head_units=32)
        >>> model({"image": np.zeros((2, 64, 64, 3), "uint8")})["boxes_yxyx"].shape
        TensorShape([2, 100, 4])

    Source: Girshick, 2015, "Fast R-CNN".
    What differs: training from random weights, and therefore batch normalization; the map is the finest level of a feature
    pyramid, as in our Faster R-CNN, instead of the backbone's last map of stride 16; AdamW (see `detector.optimizer`); without
    objects in an image, all its regions are background; the true boxes join the regions, as in the author's code. For the
    regions, see `region_search.regions`.
    """

    def __init__(self, image_size, classes, *, backbone_kind="resnet18", pyramid_filters=256, regions=2000, search="fast",
                 regions_per_image=64, head_units=1024, seed=0):
        super().__init__(image_size, classes, regions=regions, search=search, regions_per_image=regions_per_image,
                         least_background=0.1, seed=seed, name="fast_rcnn")
        self.backbone, strides = pyramid.build(image_size, backbone_kind, pyramid_filters, extra_levels=0)
        for convolution in self.backbone.get_layer("pyramid").outputs[1:]:
            for layer in convolution:
                layer.trainable = False  # of the coarser maps, which nothing reads
        self.pool = layers.RoIPooling(7, strides[0])
        normal = keras.initializers.RandomNormal(stddev=0.01)
        self.box_head = region_classifier.head((7, 7, pyramid_filters), classes, head_units, normal)
        self.built = True

    def classify(self, images, regions_yxyx, training):
        maps = self.backbone(images, training=training)[0]
        # the last pixel of a region is half a pixel before its end
        pooled = self.pool(regions_yxyx - ops.convert_to_tensor([0.0, 0.0, 1.0, 1.0]), maps)
        return region_classifier.classified(self.box_head, ops.reshape(pooled, (-1, *pooled.shape[2:])), regions_yxyx.shape[1])
