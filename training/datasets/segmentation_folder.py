"""A user's folder of images and masks."""
import pathlib
import sys
import unicodedata

import tensorflow_datasets as tfds

from training.config import UserError
from training.datasets import annotations, folders, masks

_LAYOUT = ("classes.txt, images/NAME.jpg and masks/NAME.png, with folders train, val and test above or below images and masks if "
           "there are splits")
_IMAGES = ("images", "image", "imgs", "img", "jpegimages")
_MASKS = ("masks", "mask", "labels", "annotations", "segmentationclass")
_SPLITS = ("train", "validation", "test")


class SegmentationFolder(tfds.core.GeneratorBasedBuilder):
    """Images with a mask each, whose pixels are classes.

    The folder contains classes.txt, images/NAME.jpg (or .jpeg, .jfif, .png, .bmp, .gif, .webp, .tif, .tiff) and masks/NAME.png.
    The folders train, val and test, above or below images and masks, are the splits. See `masks.Classes` for classes.txt and
    `masks.Masks` for the masks. Hidden files are ignored.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    specify the folder that contains classes.txt, images and masks, or classes.txt and train, val and test with images and masks
    each
    """
    pkg_dir_path = None

    @staticmethod
    def files(folder):
        """Returns the files of the data set, which determine its identity."""
        return [path for path in folders.listed(folder)
                if path.name == "classes.txt" or path.suffix.lower() in annotations.IMAGE_ENDINGS]

    @staticmethod
    def config_for(folder, identity):
        """Returns the builder's config, with the mask of each image. Images without a mask, and masks without an image, are left
        out and counted.

        Raises:
            UserError: the layout differs, classes.txt is missing or not valid, or a split has no image with a mask.
        """
        classes = _classes(folder)
        images, found = _sorted_files(folder)
        pairs = {key: (path, found[key]) for key, path in images.items() if key in found}
        if not pairs:
            what = "masks" if images else "images"
            if images and found:
                raise UserError(f"no mask in {folder} has the name of an image: the mask of images/NAME.jpg is masks/NAME.png")
            raise UserError(f"{folder} contains no {what}: its layout must be {_LAYOUT}")
        for one, other, what in ((images, found, "image"), (found, images, "mask")):
            alone = sorted(path for key, path in one.items() if key not in other)
            if alone:
                print(f"segmentation_folder: {len(alone):,} {what}{'s have' if len(alone) > 1 else ' has'} no "
                      f"{'mask' if what == 'image' else 'image'}, such as {folders.shown(alone[0])}: left out",
                      file=sys.stderr, flush=True)
        parts = {split: sorted(pair for key, pair in pairs.items() if (key[0] or "train") == split) for split in _SPLITS}
        parts = {split: pairs for split, pairs in parts.items() if pairs}
        if "train" not in parts:
            raise UserError(f"{folder} contains {' and '.join(parts)} images with masks, but none for training")
        used = [path for pairs in parts.values() for pair in pairs for path in pair]
        left_out = folders.others([path for path in folders.listed(folder) if path.name != "classes.txt"], used)
        return folders.FolderConfig(
            name=identity, folder=str(folder), class_names=classes.names, parts=parts, left_out=left_out)

    def _info(self):
        return self.dataset_info_from_configs(
            description=self.__doc__, features=masks.features(self.builder_config.class_names))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self.builder_config.parts}

    def _generate_examples(self, split):
        folder = pathlib.Path(self.builder_config.folder)
        read = masks.Masks(_classes(folder))
        for image, mask in annotations.progress(self.builder_config.parts[split], "segmentation_folder"):
            yield image.relative_to(folder).as_posix(), masks.example(
                folders.read(image), folders.read(mask), image, mask, image.name, read)
        read.report(f"segmentation_folder, {split}")


def _classes(folder):
    path = folder / "classes.txt"
    if not path.is_file():
        inner = sorted(found.parent.name for found in folder.glob("*/classes.txt"))
        raise UserError(f"{folder} does not contain classes.txt, which names the classes, one on each line" + (
            f"; did you mean {folder / inner[0]}?" if inner else ""))
    return masks.Classes(folders.read(path), path)


def _sorted_files(folder):
    """Returns the images and the masks, each {(split or None, other folders, name): path}; the first ending counts."""
    images, found, endings = {}, {}, annotations.IMAGE_ENDINGS
    files = [path for path in folders.listed(folder) if path.suffix.lower() in endings]
    for path in sorted(files, key=lambda path: endings.index(path.suffix.lower())):
        *places, _ = path.relative_to(folder).parts
        kind = next((place for place in places if place.lower() in _IMAGES + _MASKS), None)
        if kind is None:
            continue
        splits = [place for place in places if place != kind and folders.split_of(place)]
        others = tuple(place for place in places if place != kind and place not in splits[:1])
        name = unicodedata.normalize("NFC", path.stem)
        key = (folders.split_of(splits[0]) if splits else None, others, name)
        if kind.lower() in _IMAGES:
            images.setdefault(key, path)
        elif path.suffix.lower() == ".png":
            found.setdefault(key, path)
    return images, found
