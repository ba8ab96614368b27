"""Transfers what a network has learned on one task to another task with few images.

    python -m apps.transfer
    python -m apps.transfer --model classifier_only --examples 5
    python -m apps.transfer --dataset cifar10_subset --manual-dir DATA --backbone RUN
    python -m apps.transfer regimes
    python -m apps.transfer predict photo.png

Data:    digits (embedded), cifar10_subset, image_folder, and TFDS data sets with one label per image.
         Unless --source names another data set, the first half of the classes is the source task and the second half the
         target task.

Result:  test accuracy on the target task; see RESULTS.md.
"""
