"""Labels every pixel of an image with a class, or finds objects with a mask for each.

    python -m apps.segmentation
    python -m apps.segmentation --dataset camvid --manual-dir DATA
    python -m apps.segmentation --model mask_rcnn
    python -m apps.segmentation predict photo.jpg

Data:    digit_scenes (embedded), camvid, segmentation_folder, and oxford_iiit_pet of TFDS; for mask_rcnn digit_scenes,
         penn_fudan, and coco_folder with segmentations.

Result:  mean intersection over union (IoU), for mask_rcnn COCO average precision of the masks, on the test split; see
         RESULTS.md.
"""
