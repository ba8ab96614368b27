"""A folder of the user's in the layout of PASCAL VOC."""
import pathlib

import tensorflow_datasets as tfds

from training.config import UserError
from training.datasets import annotations

_SPLITS = {"train": ("train.txt",), "validation": ("val.txt", "validation.txt"), "test": ("test.txt",)}


class VocFolder(tfds.core.GeneratorBasedBuilder):
    """Images with VOC XML annotations.

    The folder holds JPEGImages/NAME.jpg (or .jpeg, .png, .bmp, .gif), Annotations/NAME.xml, ImageSets/Main/{train,val,test}.txt
    with one NAME a line (without ImageSets, all images are for training), and optionally labels.txt with one class a line.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    name the folder that holds JPEGImages, Annotations and ImageSets/Main with train.txt, val.txt and test.txt
    """
    pkg_dir_path = None

    @staticmethod
    def files(folder):
        """Returns the files of which the data set is made, for its identity."""
        return [*_annotation_files(folder), *sorted((folder / "ImageSets" / "Main").glob("*.txt")),
                *sorted((folder / "JPEGImages").glob("*")), *folder.glob("labels.txt")]

    @staticmethod
    def config_for(folder, identity):
        """Returns the builder's config after a first look at all annotations.

        Raises:
            UserError: the layout differs, an annotation cannot be read, or a split is empty.
        """
        for name in ("JPEGImages", "Annotations"):
            if not (folder / name).is_dir():
                inner = sorted(path.parent.name for path in folder.glob(f"*/{name}"))
                raise UserError(f"{folder} holds no folder {name}" + (
                    f"; did you mean {folder / inner[0]}?" if inner else ": a VOC folder holds JPEGImages, Annotations "
                    "and ImageSets/Main"))
        parts = _split_names(folder)
        labels = folder / "labels.txt"
        if labels.is_file():
            class_names = [line.strip() for line in labels.read_text(encoding="utf-8").splitlines() if line.strip()]
        else:
            found = set()
            for name in annotations.progress([name for names in parts.values() for name in names], "voc_folder"):
                found.update(label for label, _, _ in _annotation(folder, name)[2])
            class_names = sorted(found)
        if not class_names:
            raise UserError(f"the annotations in {folder} hold no object")
        return annotations.FolderConfig(name=identity, folder=str(folder), class_names=class_names, parts=parts)

    def _info(self):
        return self.dataset_info_from_configs(
            description=self.__doc__, features=annotations.features(self.builder_config.class_names))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self.builder_config.parts}

    def _generate_examples(self, split):
        folder = pathlib.Path(self.builder_config.folder)
        first = 0  # image ids are unique over the splits
        for other, names in self.builder_config.parts.items():
            if other == split:
                break
            first += len(names)
        boxes = annotations.Boxes()
        for number, name in enumerate(annotations.progress(self.builder_config.parts[split], "voc_folder"), first):
            *size, objects = _annotation(folder, name)
            objects = [(label, box, False, is_difficult) for label, box, is_difficult in objects]
            path = _image_path(folder, name)
            yield number, annotations.example(
                annotations.read(path), path, path.name, number, size, objects, self.builder_config.class_names, boxes)
        boxes.report(f"voc_folder, {split}")


def _annotation_files(folder):
    return sorted((folder / "Annotations").glob("*.xml"))


def _split_names(folder):
    """Returns the names of the images of each split."""
    parts = {}
    for split, files in _SPLITS.items():
        for path in (folder / "ImageSets" / "Main" / file for file in files):
            if path.is_file() and split not in parts:
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
                parts[split] = list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))
                if not parts[split]:
                    raise UserError(f"{path} names no image")
    return parts or {"train": [path.stem for path in _annotation_files(folder)]}


def _annotation(folder, name):
    path = annotations.inside(folder / "Annotations", f"{name}.xml")
    return annotations.voc(annotations.read(path), path)


def _image_path(folder, name):
    for ending in annotations.IMAGE_ENDINGS:
        for path in (annotations.inside(folder / "JPEGImages", name + kind) for kind in (ending, ending.upper())):
            if path.is_file():
                return path
    raise UserError(f"there is no image {name} in {folder / 'JPEGImages'}")
