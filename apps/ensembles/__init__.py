"""Classifies images with an ensemble of small networks, which makes fewer errors than one network.

    python -m apps.ensembles
    python -m apps.ensembles --model snapshots --combine parameters
    python -m apps.ensembles --model adaboost --dataset mnist --data-dir DATA
    python -m apps.ensembles compare
    python -m apps.ensembles predict photo.png

Data:    digits (embedded), cifar10_subset, image_folder, and TFDS data sets with one label per image.

Members: fully connected networks with `depth` hidden layers of `hidden` ReLU units.

Result:  test accuracy of the members and of the ensemble; see RESULTS.md.
"""
