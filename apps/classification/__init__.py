"""Says what an image shows: one class out of several.

    python -m apps.classification
    python -m apps.classification --dataset mnist --model lenet5 --data-dir DATA
    python -m apps.classification predict photo.jpg

Data:    digits (embedded), cifar10_subset, image_folder, and TFDS's mnist, fashion_mnist and others with one label an image.

Result:  accuracy on the test split; see RESULTS.md.
"""
