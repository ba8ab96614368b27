"""Penn-Fudan: photographs of streets, with a mask for every pedestrian."""
import pathlib

import numpy as np
import tensorflow_datasets as tfds

from training.config import UserError
from training.datasets import annotations, instance_masks
from training.vision import files

CLASS_NAMES = ["pedestrian"]
SPLITS = {"train": 100, "validation": 20, "test": 50}
"""images of each split, in a random order of all of them"""
MOST_PEDESTRIANS = 100
"""largest number of pedestrians in an image; the data set has up to 8"""

_SEED = 20_070_101
_ENDINGS = (".jpg", ".png")


class PennFudan(tfds.core.GeneratorBasedBuilder):
    """170 photographs of streets with 423 pedestrians, each with a mask and the tight box around it.

    The paper counts 345 pedestrians; the authors added the others later and list them in added-object-list.txt. All 423 are
    objects here. The authors published no split: a random order by a fixed seed gives 100 images for training, 20 for
    validation and 50 for the test.

    Source: Wang et al., 2007, "Object Detection Combining Recognition and Segmentation".
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    specify the folder that contains penn-fudan/PennFudanPed.zip of https://www.cis.upenn.edu/~jshi/ped_html; its images may be
    the original PNGImages/*.png or JPEGImages/*.jpg
    """
    NOTICE = "about 5 s"
    pkg_dir_path = None

    def _info(self):
        return self.dataset_info_from_configs(
            description=self.__doc__, homepage="https://www.cis.upenn.edu/~jshi/ped_html",
            features=annotations.features(CLASS_NAMES, with_masks=True))

    def _split_generators(self, dl_manager):
        path = pathlib.Path(dl_manager.manual_dir) / "penn-fudan" / "PennFudanPed.zip"
        with annotations.archive(path, self.MANUAL_DOWNLOAD_INSTRUCTIONS) as archive:
            pairs = _pairs(archive.namelist(), path)
        if len(pairs) <= SPLITS["validation"] + SPLITS["test"]:
            raise UserError(f"{path} contains {len(pairs)} images with masks, but the complete set has 170")
        order = np.random.default_rng(_SEED).permutation(len(pairs))
        ends = np.cumsum([SPLITS["test"], SPLITS["validation"], len(pairs)])
        chosen = dict(zip(("test", "validation", "train"), np.split(order, ends[:-1])))
        return {split: self._generate_examples(path, split, [pairs[i] for i in sorted(chosen[split])], pairs) for split in SPLITS}

    def _generate_examples(self, path, split, chosen, pairs):
        boxes = annotations.Boxes()
        with annotations.archive(path, self.MANUAL_DOWNLOAD_INSTRUCTIONS) as archive:
            for image, mask in chosen:
                instances = _instances(annotations.member(archive, mask, annotations.MAX_IMAGE_BYTES), f"{path}: {mask}")
                found = [instances == number for number in np.unique(instances[instances > 0])]
                objects = [(CLASS_NAMES[0], instance_masks.box(each), False, False) for each in found]
                content = annotations.member(archive, image, annotations.MAX_IMAGE_BYTES)
                yield image, annotations.example(
                    content, f"{path}: {image}", pathlib.PurePosixPath(image).name, pairs.index((image, mask)), instances.shape,
                    objects, CLASS_NAMES, boxes, mask_of=lambda index, height, width, found=found: found[index])
        boxes.report(f"penn_fudan, {split}")


def _pairs(names, path):
    """Returns the names of the images and of their masks in the archive, in the order of the masks."""
    images = {pathlib.PurePosixPath(name).stem: name for name in names
              if "Images/" in name and name.lower().endswith(_ENDINGS)}
    pairs = []
    for mask in sorted(name for name in names if "PedMasks/" in name and name.endswith("_mask.png")):
        stem = pathlib.PurePosixPath(mask).name.removesuffix("_mask.png")
        if stem not in images:
            raise UserError(f"{path} contains {mask}, but no image {stem}.jpg or {stem}.png")
        pairs.append((images[stem], mask))
    if not pairs:
        raise UserError(f"{path} contains no masks PedMasks/*_mask.png")
    return pairs


def _instances(content, source):
    """Returns the map of pedestrians, (height, width): 0 is the background, and pedestrians count from 1.

    Raises:
        UserError: it is not a gray or palette PNG, or is damaged.
    """
    with files.refusal(content, source):
        image = files.opened(content, source)
        if image.mode not in ("L", "P", "I", "I;16"):
            raise UserError(f"{source} must be a gray or palette PNG that numbers the pedestrians, but its mode is {image.mode}")
        instances = np.asarray(image)
    count = len(np.unique(instances))
    if count > MOST_PEDESTRIANS + 1:
        raise UserError(f"{source} contains {count - 1:,} pedestrians, more than the limit of {MOST_PEDESTRIANS}")
    return instances
