"""A folder of the user's in the layout of COCO."""
import collections
import json

import tensorflow_datasets as tfds

from training.config import UserError
from training.datasets import annotations

_PATTERNS = ("instances_*.json", "annotations.json", "annotations/instances_*.json", "annotations/annotations.json")
_MAX_JSON_BYTES = 2 ** 31


class CocoFolder(tfds.core.GeneratorBasedBuilder):
    """Images with COCO JSON annotations.

    The annotations are in files instances_*.json or annotations.json, in the folder itself or in its folder `annotations`;
    the file's name determines the split (…test…, …val…, and otherwise train). The images lie beside the file, in `images`, or
    in a folder that is named like the ending of the file's name (instances_train2017.json: train2017 or images/train2017).
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    name the folder that holds the images and instances_train.json, instances_val.json, … or annotations.json
    """
    pkg_dir_path = None

    @staticmethod
    def files(folder):
        """Returns the files of which the data set is made, for its identity."""
        kinds = {".json", *annotations.IMAGE_ENDINGS}
        return sorted(path for path in folder.rglob("*") if path.suffix.lower() in kinds and path.is_file())

    @staticmethod
    def config_for(folder, identity):
        """Returns the builder's config, with all annotations read.

        Raises:
            UserError: the layout differs, a file is not a COCO annotation file, or a split is empty.
        """
        parts, class_names = {}, []
        for split, path in _annotation_files(folder).items():
            parts[split], names = _records(path, folder)
            class_names += [name for name in names if name not in class_names]
        return annotations.FolderConfig(name=identity, folder=str(folder), class_names=class_names, parts=parts)

    def _info(self):
        return self.dataset_info_from_configs(
            description=self.__doc__, features=annotations.features(self.builder_config.class_names))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self.builder_config.parts}

    def _generate_examples(self, split):
        boxes = annotations.Boxes()
        for path, name, number, size, objects in annotations.progress(self.builder_config.parts[split], "coco_folder"):
            yield number, annotations.example(annotations.read(path), path, name, number, size, objects,
                                              self.builder_config.class_names, boxes)
        boxes.report(f"coco_folder, {split}")


def _annotation_files(folder):
    """Returns the annotation file of each split."""
    files = {}
    for path in (path for pattern in _PATTERNS for path in sorted(folder.glob(pattern))):
        name = path.stem.lower()
        split = "test" if "test" in name else "validation" if "val" in name else "train"
        if split in files:
            raise UserError(f"{files[split]} and {path} are both for the {split} split: keep one of them")
        files[split] = path
    if not files:
        raise UserError(f"{folder} holds no instances_*.json or annotations.json, in it or in its folder annotations")
    return files


def _records(path, folder):
    """Returns ([(image path, file name, id, (height, width), objects)], class names in the order of their ids)."""
    content = _json(path)

    def rows(name, /, **kinds):
        found = content.get(name)
        if not isinstance(found, list):
            raise UserError(f"{path} has no list of {name}: it is not a COCO annotation file")
        for row in found:
            for key, kind in kinds.items():
                if not isinstance(row, dict) or not isinstance(row.get(key), kind):
                    raise UserError(f"{path}: one of its {name} has no proper {key}: {str(row)[:100]}")
        return found

    categories = {row["id"]: row["name"] for row in sorted(rows("categories", id=int, name=str), key=lambda r: r["id"])}
    objects = collections.defaultdict(list)
    for row in rows("annotations", image_id=int, category_id=int, bbox=list):
        if row["category_id"] not in categories:
            raise UserError(f"{path}: annotation {row.get('id')} has the category {row['category_id']}, "
                            "which is none of the categories")
        try:
            left, top, width, height = map(float, row["bbox"])
        except (TypeError, ValueError):
            raise UserError(f"{path}: annotation {row.get('id')} has the box {row['bbox']}, which is not "
                            "x, y, width, height") from None
        box = (top, left, top + height, left + width)
        objects[row["image_id"]].append((categories[row["category_id"]], box, bool(row.get("iscrowd")), False))
    records, places = [], _image_folders(path, folder)
    for row in rows("images", id=int, file_name=str):
        image = next((file for file in (annotations.inside(place, row["file_name"]) for place in places)
                      if file.is_file()), None)
        if image is None:
            raise UserError(f"{path} names the image {row['file_name']}, which is not in "
                            f"{', '.join(str(place) for place in places)}")
        size = [value if isinstance(value, int) else 0 for value in (row.get("height"), row.get("width"))]
        records.append((image, row["file_name"], row["id"], size, objects.pop(row["id"], [])))
    if not records:
        raise UserError(f"{path} names no image")
    if len({record[2] for record in records}) < len(records):
        raise UserError(f"{path} gives the same id to two images")
    if objects:
        raise UserError(f"{path} has annotations of image {next(iter(objects))}, which it does not list")
    if not categories:
        raise UserError(f"{path} names no category")
    return records, list(dict.fromkeys(categories.values()))


def _json(path):
    if path.stat().st_size > _MAX_JSON_BYTES:
        raise UserError(f"{path} is larger than {_MAX_JSON_BYTES:,} bytes")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object: it is not a COCO annotation file")
    return content


def _image_folders(path, folder):
    ending = path.stem.partition("_")[2]
    places = [folder / "images" / ending, folder / ending] if ending else []
    return [place for place in [*places, folder / "images", folder, path.parent] if place.is_dir()]
