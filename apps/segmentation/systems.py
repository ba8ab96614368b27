"""The settings of all systems of this application. Importing this module does not import TensorFlow."""
from typing import Annotated, ClassVar, Literal

import training
from training.config import Count, Data, Fraction, NotNegative, When
from training.paths import IsPath
from training.vision.detection.settings import TwoStage


class Config(training.Config):
    """Settings shared by all systems."""

    INSTANCES: ClassVar[bool] = False
    """whether the system finds single objects with a mask each, instead of a class for every pixel"""

    dataset: str = "digit_scenes"
    """digit_scenes, camvid, segmentation_folder, or TFDS's oxford_iiit_pet"""
    image_size: Annotated[int, Count] = 256
    """side length, in pixels, of the square that each image is resized to fit; the rest of the square is not evaluated"""
    augment: bool = True
    """randomly flip, scale, crop and recolor the training images"""
    weight_decay: Annotated[float, NotNegative] = 0.05
    """decoupled weight decay of the optimizer"""


class Semantic(Config):
    """Settings shared by the systems that predict a class for every pixel."""

    MONITOR: ClassVar = ("mean_iou", "max")
    DATASETS: ClassVar = {
        "digit_scenes": dict(image_size=128, epochs=8, batch_size=8, validate_every=2, class_balance=0.0),
        "camvid": dict(image_size=240, crop_size=176, epochs=60, batch_size=4, validate_every=5)}
    VARIANTS: ClassVar = {("augment", False): {"crop_size": None}}
    SPACE: ClassVar = {"learning_rate": ("log", 3e-4, 3e-2), "weight_decay": ("log", 1e-3, 0.5),
                       "class_balance": ("linear", 0.0, 1.0)}

    epochs = 30
    batch_size = 8
    learning_rate = 3e-3
    crop_size: Annotated[int | None, Count, When("augment", True)] = None
    """side length, in pixels, of the squares cut out of the augmented images for training; None: image_size"""
    class_balance: Annotated[float, NotNegative] = 0.5
    """exponent of the weight of a class, (median share of pixels / share of the class) ^ class_balance; 0: equal weights"""
    dice_share: Annotated[float, NotNegative] = 0.0
    """weight of the Dice loss, which is added to the cross-entropy"""
    dropout: Annotated[float, Fraction] = 0.0
    """dropout rate of the features at the lowest resolution"""


class Staged(Semantic):
    """Settings shared by the networks that halve the resolution in stages."""

    width: Annotated[int, Count] = 16
    """channels of the first stage; each further stage has twice as many"""
    stages: Annotated[int, Count] = 5
    """stages of two or three convolutions, each at half the resolution of the one before"""


class UNet(Staged, model="unet", ids=("S3",)):
    """U-Net (Ronneberger et al., 2015)."""

    DATASETS: ClassVar = {"digit_scenes": dict(width=12, stages=4), "camvid": dict(width=16)}


class EncoderDecoder(Staged, model="encoder_decoder", ids=("S2",)):
    """Encoder and decoder with four kinds of upsampling (Noh et al., 2015; SegNet, 2017)."""

    DATASETS: ClassVar = {"digit_scenes": dict(width=12, stages=4), "camvid": dict(stages=4)}

    upsampling: Literal["nearest", "bed_of_nails", "max_unpooling", "transposed"] = "max_unpooling"
    """how the sides are doubled: by repeating values, with zeros between them, with each value where the maximum of the
    pooling was, or by a transposed convolution"""


class FCN(Staged, model="fcn", ids=("S2",)):
    """Fully convolutional network with scores of several resolutions (Long et al., 2015)."""

    DATASETS: ClassVar = {"digit_scenes": dict(width=12, stages=4, stride=4), "camvid": dict(stages=4)}

    upsampling: Literal["nearest", "bed_of_nails", "max_unpooling", "transposed"] = "transposed"
    """how the score maps are enlarged, as for encoder_decoder"""
    stride: Literal[2, 4, 8, 16, 32] = 8
    """finest stride, in pixels, whose features are scored; 32, 16 and 8 are FCN-32s, FCN-16s and FCN-8s"""
    scores: Annotated[int, Count] = 16
    """channels of the score maps, of which the class scores are an affine function"""


class Pixelwise(Semantic):
    """Settings shared by the two forms of the network that classifies a pixel from the patch around it."""

    DATASETS: ClassVar = {"camvid": dict(crop_size=None)}

    width: Annotated[int, Count] = 16
    """channels of all stages"""
    stages: Annotated[int, Count] = 2
    """stages of two convolutions and a pooling; a patch has a side of 10, 24, 52 or 108 pixels with 1, 2, 3 or 4"""
    units: Annotated[int, Count] = 64
    """channels of the layer before the class scores"""


class Patches(Pixelwise, model="patches", ids=("S1",)):
    """Classification of each pixel from the patch around it, patch by patch (Ciresan et al., 2012)."""

    DATASETS: ClassVar = {"digit_scenes": dict(every=2, validate_every=8)}

    patches: Annotated[int, Count] = 64
    """patches drawn from each training image"""
    every: Annotated[int, Count] = 1
    """pixels between those that are classified, in both directions; the pixels between them take over the class"""


class Convolutional(Pixelwise, model="convolutional", ids=("S1",)):
    """The network of patches, with the same weights, for all pixels of an image in one pass (Giusti et al., 2013)."""


class MaskRCNN(TwoStage, model="mask_rcnn", ids=("S4",)):
    """Mask R-CNN (He et al., 2017), on top of Faster R-CNN."""

    INSTANCES: ClassVar = True
    EXPORT: ClassVar = "instances"
    MONITOR: ClassVar = ("mask_ap", "max")
    DATASETS: ClassVar = {
        "digit_scenes": dict(mask_layers=2, mask_filters=32),
        # pedestrians are two to three times as tall as wide
        "penn_fudan": dict(
            image_size=256, max_objects=16, epochs=100, batch_size=4, learning_rate=2e-3, validate_every=10, backbone="small",
            pyramid_filters=64, min_anchor_stride=8, anchor_scale=2.0, anchor_octaves=2, anchor_ratios=(1.5, 3.0),
            proposals=100, regions_per_image=64, region_levels=2, head_units=256, mask_layers=2, mask_filters=32)}

    dataset: str = "digit_scenes"
    """digit_scenes, penn_fudan, or coco_folder with segmentations"""
    mask_layers: Annotated[int, NotNegative] = 4
    """convolutional layers of the mask head before its upsampling"""
    mask_filters: Annotated[int, Count] = 256
    """channels of each layer of the mask head"""


class PatchesSpeed(training.Experiment, Data):
    """Compare the answers and the speed of pixel classification patch by patch and in one pass, with the same weights."""

    run: Annotated[str | None, IsPath()] = None
    """name or folder of a run of patches or convolutional, whose weights are used; None: random weights"""
    dataset: str = "digit_scenes"
    """data set of the images; has no effect with --run, which uses that of the run"""
    images: Annotated[int, Count] = 4
    """test images to answer"""
    rounds: Annotated[int, Count] = 3
    """times that each form answers all images, in turn; the median counts"""
