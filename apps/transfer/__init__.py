"""Learns a task from few images with what was learned from another task.

    python -m apps.transfer
    python -m apps.transfer --model classifier_only --examples 5
    python -m apps.transfer --dataset cifar10_subset --manual-dir DATA --backbone RUN
    python -m apps.transfer regimes
    python -m apps.transfer predict photo.png

Data:    digits (embedded), cifar10_subset, image_folder, and TFDS's mnist, fashion_mnist and others with one label an image.
         Where a source is learned and no other set is named by --source, the first half of the classes is the source's task
         and the other half the target's.

Result:  accuracy on the target's test split; see RESULTS.md.
"""
