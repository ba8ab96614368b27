"""A user's folder with one folder of images per class."""
import collections
import os
import pathlib

import tensorflow_datasets as tfds

from training.config import UserError
from training.datasets import annotations, folders
from training.datasets.class_names import class_name

_LAYOUT = "CLASS/IMAGE, or CLASS/IMAGE in the folders train, val and test"
_SPLITS = ("train", "validation", "test")


class ImageFolder(tfds.core.GeneratorBasedBuilder):
    """Images by class.

    The layout is CLASS/IMAGE, with all images for training, or {train,val,test}/CLASS/IMAGE, where a whole word in the folder
    name determines the split. The classes are the folders of train, sorted. Image files are recognized by their extension:
    .jpg, .jpeg, .jfif, .png, .bmp, .gif, .webp, .tif, .tiff. Hidden files are ignored.
    """

    VERSION = tfds.core.Version("1.1.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    specify the folder that contains one folder of images per class, or the folders train, val and test with one each
    """
    pkg_dir_path = None

    @staticmethod
    def files(folder):
        """Returns the files of the data set, which determine its identity.

        Raises:
            UserError: one of them is a link to a place outside the folder, or cannot be read.
        """
        return _walk(folder)[0]

    @staticmethod
    def config_for(folder, identity):
        """Returns the builder's config, with the class of each image.

        Raises:
            UserError: the layout differs, a class is empty or only in validation or test, or there are fewer than two
                classes.
        """
        files, inner, left_out = _walk(folder)
        if not files:
            raise UserError(f"{folder} contains no images ({', '.join(annotations.IMAGE_ENDINGS)}): its layout must be {_LAYOUT}")
        depth = len(files[0].relative_to(folder).parts)
        for path in files:
            if len(path.relative_to(folder).parts) != depth or depth not in (2, 3):
                raise UserError(f"{path} is not in the folder of a class: the layout must be {_LAYOUT}")
        if depth == 2 and all(_is_split(path.parent.name) for path in files):
            raise UserError(f"the images are in {', '.join(sorted({str(path.parent) for path in files}))} without a folder for "
                            f"each class: the layout must be {_LAYOUT}")
        places = {"train": folder} if depth == 2 else _split_folders(folder, inner)
        parts = {split: [(path, _class(path.parent)) for path in files if path.is_relative_to(place)]
                 for split, place in places.items()}
        for split, place in places.items():
            if not parts[split]:
                raise UserError(f"{place} contains no images")
        class_names = sorted({label for _, label in parts["train"]})
        counts = collections.Counter(path.parent for path in files)
        for place in places.values():
            _check_classes([path for path in inner if path.parent == place], counts, class_names, places["train"])
        if len(class_names) < 2:
            raise UserError(f"{places['train']} contains images of only one class, {class_names[0]!r}: at least two are needed")
        return folders.FolderConfig(
            name=identity, folder=str(folder), class_names=class_names, parts=parts, left_out=left_out)

    def _info(self):
        return self.dataset_info_from_configs(
            description=self.__doc__, supervised_keys=("image", "label"),
            features=tfds.features.FeaturesDict({
                "image": tfds.features.Image(),
                "label": tfds.features.ClassLabel(names=self.builder_config.class_names),
            }))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self.builder_config.parts}

    def _generate_examples(self, split):
        folder = pathlib.Path(self.builder_config.folder)
        for path, label in annotations.progress(self.builder_config.parts[split], "image_folder"):
            picture = annotations.Picture(folders.read(path), path)
            yield path.relative_to(folder).as_posix(), {"image": picture.file, "label": label}


def _walk(folder):
    """Returns (images, folders, other files) that lie in a folder at any depth, all sorted."""
    def refuse(error):
        raise UserError(f"{error.filename} cannot be read: {error.strerror}")

    root, files, found, left_out = os.path.realpath(folder), [], [], []
    for place, inner, names in os.walk(folder, onerror=refuse):
        inner[:] = [name for name in inner if not folders.is_hidden(name)]
        names = [name for name in names if not folders.is_hidden(name)]
        left_out += [pathlib.Path(place, name) for name in names if not name.lower().endswith(annotations.IMAGE_ENDINGS)]
        names = [name for name in names if name.lower().endswith(annotations.IMAGE_ENDINGS)]
        for path in (pathlib.Path(place, name) for name in [*inner, *names]):
            folders.encoded(str(path), path)
            if path.is_symlink() and not pathlib.Path(os.path.realpath(path)).is_relative_to(root):
                raise UserError(f"{path} is a link to a place outside the folder {folder}")
            if path.is_symlink() and path.is_dir():  # following it could lead in a circle
                raise UserError(f"{path} is a link to another folder: replace it with a copy of the folder")
        found += [pathlib.Path(place, name) for name in inner]
        for path in (pathlib.Path(place, name) for name in names):
            if not path.is_file():
                raise UserError(f"{path} is not a readable file")
            files.append(path)
    return sorted(files), sorted(found), sorted(left_out)


def _is_split(name):
    """Tells whether a name is that of a split and of nothing else, like "train" or "test2017", but not "test tube"."""
    return folders.split_of(name) is not None and name.rstrip("0123456789_- ").isalpha()


def _split_folders(folder, inner):
    """Returns the folder of each split, train first."""
    found = {}
    for path in (path for path in inner if path.parent == folder):
        split = folders.split_of(path.name)
        if not split:
            raise UserError(f"the name of {path} does not contain train, val or test: the layout must be {_LAYOUT}")
        if split in found:
            raise UserError(f"{found[split]} and {path} are both for the {split} split: keep one of them")
        found[split] = path
    if "train" not in found:
        raise UserError(f"{folder} contains {', '.join(path.name for path in found.values())}, but no folder train")
    return {split: found[split] for split in _SPLITS if split in found}


def _class(path):
    return class_name(path.name, f"the name of the folder {str(path)!r}")


def _check_classes(paths, counts, class_names, train):
    """Refuses folders that are empty, of a class that train does not hold, or of one that another folder has too."""
    found = {}
    for path in paths:
        if not counts[path]:
            raise UserError(f"{path} contains no images ({', '.join(annotations.IMAGE_ENDINGS)})")
        name = _class(path)
        if name in found:
            odd, other = (found[name], path) if path.name == name else (path, found[name])
            raise UserError(f"the name of the folder {str(odd)!r} is not a valid class name: it differs from {str(other)!r} "
                            "only in surrounding white space or in the Unicode form of its accents")
        found[name] = path
        if name not in class_names:
            raise UserError(f"{path} is a class without training images in {train}")
