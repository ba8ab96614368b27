"""Says what an image shows by many small networks together, which err less than one of them.

    python -m apps.ensembles
    python -m apps.ensembles --model snapshots --combine parameters
    python -m apps.ensembles --model adaboost --dataset mnist --data-dir DATA
    python -m apps.ensembles compare
    python -m apps.ensembles predict photo.png

Data:    digits (embedded), cifar10_subset, image_folder, and TFDS's mnist, fashion_mnist and others with one label an image.

Members: fully connected networks: pixels -> `depth` times `hidden` ReLU -> classes.

Result:  accuracy on the test split, of the members and of them together; see RESULTS.md.
"""
