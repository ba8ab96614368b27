"""Labels every pixel of an image with a class.

    python -m apps.segmentation
    python -m apps.segmentation --dataset camvid --manual-dir DATA
    python -m apps.segmentation predict photo.jpg

Data:    digit_scenes (embedded), camvid, segmentation_folder, and oxford_iiit_pet of TFDS.

Result:  mean intersection over union (IoU) on the test split; see RESULTS.md.
"""
