"""Data sets that TFDS lacks, as TFDS builders; importing one registers it under its module's name."""

NAMES = ("digit_scenes", "bccd", "coco_folder", "voc_folder", "dialog_babi", "restaurant_booking", "babi", "simulated_world",
         "metaqa", "pathquestion", "digits", "cifar10_subset", "image_folder", "tabular")

GREY = ("digits", "mnist", "fashion_mnist", "kmnist", "emnist")
"""sets of small grey images"""

UPRIGHT = ("digits", "mnist", "kmnist", "emnist", "svhn_cropped")
"""sets whose images mean something else in a mirror"""
