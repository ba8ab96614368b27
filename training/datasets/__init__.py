"""TFDS builders for data sets that TFDS lacks; importing a module registers its builder under the module's name."""

NAMES = ("digit_scenes", "bccd", "penn_fudan", "coco_folder", "voc_folder", "dialog_babi", "restaurant_booking", "babi",
         "simulated_world", "metaqa", "pathquestion", "digits", "cifar10_subset", "image_folder", "tabular", "camvid",
         "segmentation_folder")

GRAY = ("digits", "mnist", "fashion_mnist", "kmnist", "emnist")
"""data sets of small gray images"""

UPRIGHT = ("digits", "mnist", "kmnist", "emnist", "svhn_cropped")
"""data sets whose images change their meaning when flipped"""
