"""A user's folder in the layout of PASCAL VOC."""
import collections
import itertools
import re
import sys
import unicodedata

import tensorflow_datasets as tfds

from training.config import UserError
from training.datasets import annotations, folders
from training.datasets.class_names import class_names
from training.text import files as text_files

_SPLITS = {"train": ("train.txt", "trainval.txt"), "validation": ("val.txt", "validation.txt"), "test": ("test.txt",)}
_LISTS = [file for files in _SPLITS.values() for file in files]
_MARKED = re.compile(r"(.*\S)\s+(?:-1|0|1)")
"""a line of VOC's lists of one class, which says whether the image shows it"""


class VocFolder(tfds.core.GeneratorBasedBuilder):
    """Images with VOC XML annotations.

    The folder contains JPEGImages/NAME.jpg (or .jpeg, .jfif, .png, .bmp, .gif, .webp, .tif, .tiff), Annotations/NAME.xml,
    ImageSets/Main/{train,val,test}.txt with one NAME per line, and optionally labels.txt with one class per line. Without
    train.txt, the training images are those of trainval.txt that are in neither val.txt nor test.txt; without ImageSets, all
    images are for training. Hidden files are ignored.
    """

    VERSION = tfds.core.Version("1.1.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    specify the folder that contains JPEGImages, Annotations and ImageSets/Main with train.txt, val.txt and test.txt
    """
    pkg_dir_path = None

    @staticmethod
    def files(folder):
        """Returns the files of the data set, which determine its identity."""
        return [*(path for name in ("Annotations", "ImageSets", "JPEGImages") for path in folders.listed(folder / name)),
                *folder.glob("labels.txt")]

    @staticmethod
    def config_for(folder, identity):
        """Returns the builder's config after checking all annotations.

        Raises:
            UserError: the layout differs, an annotation cannot be read, or a split is empty.
        """
        for name in ("JPEGImages", "Annotations"):
            if not (folder / name).is_dir():
                inner = sorted(path.parent.name for path in folder.glob(f"*/{name}"))
                raise UserError(f"{folder} does not contain the folder {name}" + (
                    f"; did you mean {folder / inner[0]}?" if inner else ": a VOC folder contains JPEGImages, Annotations "
                    "and ImageSets/Main"))
        images = _images(folder)
        parts = {split: [(name, *_paths(folder, name, images)) for name in names]
                 for split, names in _split_names(folder).items()}
        labels = folder / "labels.txt"
        if labels.is_file():
            lines = text_files.lines(folders.read(labels), labels)
            names = class_names([line for line in lines if line.strip()], labels)
            if not names:
                raise UserError(f"{labels} names no class: write one a line, or remove the file")
        else:
            found = set()
            for _, path, _ in annotations.progress([record for records in parts.values() for record in records], "voc_folder"):
                found.update(label for label, _, _ in annotations.voc(folders.read(path), path)[2])
            names = sorted(found)
        if not names:
            raise UserError(f"the annotations in {folder} contain no objects")
        files = [path for name in ("Annotations", "JPEGImages") for path in folders.listed(folder / name)]
        read = [path for records in parts.values() for _, *paths in records for path in paths]
        return folders.FolderConfig(name=identity, folder=str(folder), class_names=names, parts=parts,
                                    left_out=folders.others(files, read))

    def _info(self):
        return self.dataset_info_from_configs(
            description=self.__doc__, features=annotations.features(self.builder_config.class_names))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self.builder_config.parts}

    def _generate_examples(self, split):
        first = 0  # image ids are unique over the splits
        for other, records in self.builder_config.parts.items():
            if other == split:
                break
            first += len(records)
        boxes = annotations.Boxes()
        records = annotations.progress(self.builder_config.parts[split], "voc_folder")
        for number, (_, annotation, image) in enumerate(records, first):
            *size, objects = annotations.voc(folders.read(annotation), annotation)
            objects = [(label, box, False, is_difficult) for label, box, is_difficult in objects]
            yield number, annotations.example(
                folders.read(image), image, image.name, number, size, objects, self.builder_config.class_names, boxes)
        boxes.report(f"voc_folder, {split}")


def _split_names(folder):
    """Returns the names of the images of each split."""
    place = folder / "ImageSets" / "Main"
    found = {path.name.lower(): path for path in folders.listed(place) if path.parent == place}
    lists = {split: next((found[file] for file in files if file in found), None) for split, files in _SPLITS.items()}
    parts = {split: _names(path, folder) for split, path in lists.items() if path}
    if not parts:
        if found:
            _say(f"{place} contains none of {', '.join(_LISTS)}: all annotations are used for training")
        place = folder / "Annotations"
        return {"train": [path.stem for path in folders.listed(place) if path.parent == place and path.suffix == ".xml"]}
    if not lists["train"]:
        raise UserError(f"{place} contains neither train.txt nor trainval.txt with the training images, only "
                        f"{', '.join(path.name for path in lists.values() if path)}")
    if lists["train"].name.lower() == "trainval.txt":
        others = {name for split, names in parts.items() if split != "train" for name in names}
        parts["train"] = [name for name in parts["train"] if name not in others]
        if not parts["train"]:
            raise UserError(f"{lists['train']} lists only images that the other lists contain too: no image is left for training")
    for one, other in itertools.combinations(parts, 2):
        common = sorted(set(parts[one]) & set(parts[other]))
        if common:
            _say(f"{lists[one]} and {lists[other].name} both list {len(common):,} image{'s' if len(common) > 1 else ''}, such as "
                 f"{common[0]}: the splits are not independent")
    return parts


def _names(path, folder):
    """Returns the names in a list. A whole line is a name, unless there is no such annotation and VOC's -1, 0 or 1 follows."""
    names = []
    for line in map(str.strip, text_files.lines(folders.read(path), path)):
        marked = _MARKED.fullmatch(line)
        if marked and not folders.find(folder / "Annotations", f"{line}.xml"):
            line = marked[1]
        if line:
            names.append(unicodedata.normalize("NFC", line))
    if not names:
        raise UserError(f"{path} lists no images")
    twins = [name for name, count in collections.Counter(names).items() if count > 1]
    if twins:
        _say(f"{path} lists {len(twins):,} image{'s' if len(twins) > 1 else ''} more than once, such as {twins[0]}: "
             "each is used once")
    return list(dict.fromkeys(names))


def _images(folder):
    """Returns {name: path} of all images; of several with one name, that with the first ending counts."""
    found, place = {}, folder / "JPEGImages"
    endings = annotations.IMAGE_ENDINGS
    images = [path for path in folders.listed(place) if path.suffix.lower() in endings]
    for path in sorted(images, key=lambda path: endings.index(path.suffix.lower())):
        found.setdefault(unicodedata.normalize("NFC", path.relative_to(place).with_suffix("").as_posix()), path)
    return found


def _paths(folder, name, images):
    """Returns the paths of the annotation and of the image with a name."""
    path = folders.find(folder / "Annotations", f"{name}.xml")
    if path is None:
        path = folders.shown(folder / "Annotations" / f"{name}.xml")
        raise UserError(f"{path} is listed by the data set but does not exist")
    if unicodedata.normalize("NFC", name) not in images:
        raise UserError(f"there is no image {folders.shown(name)} in {folder / 'JPEGImages'}")
    return path, images[unicodedata.normalize("NFC", name)]


def _say(sentence):
    print(f"voc_folder: {sentence}", file=sys.stderr, flush=True)
