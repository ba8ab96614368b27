"""BCCD: photographs of blood cells under a microscope, with boxes around them."""
import pathlib

import tensorflow_datasets as tfds

from training.config import UserError
from training.datasets import annotations
from training.text import files as text_files

CLASS_NAMES = ["RBC", "WBC", "Platelets"]
_SPLITS = {"train": "train", "validation": "val", "test": "test"}


class Bccd(tfds.core.GeneratorBasedBuilder):
    """364 photographs (640x480) of stained blood: red and white blood cells and platelets, 4,888 boxes.

    Source: Shenggan/BCCD_Dataset (MIT license), with its own split: 205 train, 87 validation, 72 test.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    put the folder BCCD of https://github.com/Shenggan/BCCD_Dataset (Annotations, ImageSets and JPEGImages)
    into a zip file and specify the folder that contains bccd/BCCD.zip
    """
    NOTICE = "about 5 s"
    pkg_dir_path = None

    def _info(self):
        return self.dataset_info_from_configs(
            description=self.__doc__, homepage="https://github.com/Shenggan/BCCD_Dataset",
            features=annotations.features(CLASS_NAMES))

    def _split_generators(self, dl_manager):
        path = pathlib.Path(dl_manager.manual_dir) / "bccd" / "BCCD.zip"
        return {split: self._generate_examples(path, part) for split, part in _SPLITS.items()}

    def _generate_examples(self, path, part):
        boxes = annotations.Boxes()
        with annotations.archive(path, self.MANUAL_DOWNLOAD_INSTRUCTIONS) as archive:
            source = f"{path}: ImageSets/Main/{part}.txt"
            lines = text_files.lines(_member(archive, f"ImageSets/Main/{part}.txt"), source)
            names = list(filter(None, map(str.strip, lines)))
            if not names:
                raise UserError(f"{source} lists no images")
            for name in names:
                source = f"{path}: Annotations/{name}.xml"
                *size, objects = annotations.voc(_member(archive, f"Annotations/{name}.xml"), source)
                objects = [(label, box, False, is_difficult) for label, box, is_difficult in objects]
                number = int("".join(filter(str.isdigit, name)) or 0)
                image = _member(archive, f"JPEGImages/{name}.jpg")
                yield name, annotations.example(image, f"{path}: JPEGImages/{name}.jpg", f"{name}.jpg", number,
                                                size, objects, CLASS_NAMES, boxes)
        boxes.report(f"bccd, {part}")


def _member(archive, name):
    return annotations.member(archive, f"BCCD/{name}", annotations.MAX_IMAGE_BYTES)
