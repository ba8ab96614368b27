"""Detects objects in images: boxes, classes and scores.

    python -m apps.detection
    python -m apps.detection --dataset bccd --manual-dir DATA
    python -m apps.detection predict photo.jpg
    python -m apps.detection compare

Data:    digit_scenes (embedded), bccd, coco_folder, voc_folder, and voc/2007 and coco/2017 of TFDS.

Result:  COCO average precision on the test split; see RESULTS.md.
"""
