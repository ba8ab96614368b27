"""Locates the one main object of an image: its class and its bounding box.

    python -m apps.localization
    python -m apps.localization --boxes per_class --head separate
    python -m apps.localization --dataset voc_folder --manual-dir FOLDER
    python -m apps.localization predict photo.jpg

Data:    digit_scenes/one (embedded), digit_scenes, bccd, coco_folder, voc_folder, and voc/2007 and coco/2017 of TFDS; the main
         object of an image is the largest one.

Result:  fraction of test images with the right class and a box of IoU 0.5 or more, accuracy and mean IoU; see RESULTS.md.
"""
