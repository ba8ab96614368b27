"""Classifies images into one of several classes.

    python -m apps.classification
    python -m apps.classification --dataset mnist --model lenet5 --data-dir DATA
    python -m apps.classification predict photo.jpg

Data:    digits (embedded), cifar10_subset, image_folder, and TFDS data sets with one label per image.

Result:  accuracy on the test split; see RESULTS.md.
"""
