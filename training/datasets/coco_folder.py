"""A user's folder in the layout of COCO."""
import collections
import json

import tensorflow_datasets as tfds

from training.config import UserError
from training.datasets import annotations, folders, instance_masks
from training.datasets.class_names import class_name

_ROBOFLOW = "_annotations.coco.json"
_PATTERNS = ("instances_*.json", "annotations.json", "annotations/instances_*.json", "annotations/annotations.json",
             _ROBOFLOW, f"*/{_ROBOFLOW}")
_LARGEST_ID = 2 ** 63 - 1
_MAX_JSON_BYTES = 2 ** 31


class CocoFolder(tfds.core.GeneratorBasedBuilder):
    """Images with COCO JSON annotations: boxes and, where an annotation has a segmentation, instance masks.

    The annotations are in files instances_*.json or annotations.json, in the folder itself or in its subfolder `annotations`.
    A whole word in the file name determines the split (test, val or valid; otherwise train). The images are next to the file,
    in `images`, or in a folder named after the last part of the file name (instances_train2017.json: train2017 or
    images/train2017). Roboflow's layout is supported too: {train,valid,test}/_annotations.coco.json next to the images.
    """

    VERSION = tfds.core.Version("1.2.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    specify the folder with the images and instances_train.json, instances_val.json, … or annotations.json, or the folders
    train, valid and test with an _annotations.coco.json each
    """
    pkg_dir_path = None

    @staticmethod
    def files(folder):
        """Returns the files of the data set, which determine its identity."""
        return folders.listed(folder)  # an annotation may name an image with any ending, or with none

    @staticmethod
    def config_for(folder, identity):
        """Returns the builder's config, with all annotations read.

        Raises:
            UserError: the layout differs, a file is not a COCO annotation file, or a split is empty.
        """
        files = _annotation_files(folder)
        parts, class_names = {}, []
        for split, path in files.items():
            parts[split], names = _records(path, folder)
            class_names += [name for name in names if name not in class_names]
        read = [*files.values(), *(record[0] for records in parts.values() for record in records)]
        return folders.FolderConfig(name=identity, folder=str(folder), class_names=class_names, parts=parts,
                                    left_out=folders.others(folders.listed(folder), read))

    def _info(self):
        return self.dataset_info_from_configs(
            description=self.__doc__, features=annotations.features(self.builder_config.class_names, with_masks=True))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self.builder_config.parts}

    def _generate_examples(self, split):
        boxes, converted, parts = annotations.Boxes(), instance_masks.Masks(), self.builder_config.parts[split]
        has_masks = any(segmentation for *_, segmentations, _ in parts for segmentation in segmentations)
        for path, name, number, size, segmentations, objects in annotations.progress(parts, "coco_folder"):
            def mask_of(index, height, width, segmentations=segmentations):
                return converted.mask(segmentations[index], height, width) if has_masks else None

            yield number, annotations.example(folders.read(path), path, name, number, size, objects,
                                              self.builder_config.class_names, boxes, mask_of)
        boxes.report(f"coco_folder, {split}")
        converted.report(f"coco_folder, {split}")


def _annotation_files(folder):
    """Returns the annotation file of each split."""
    files = {}
    for path in (path for pattern in _PATTERNS for path in sorted(folder.glob(pattern))):
        split = folders.split_of(path.parent.name if path.name == _ROBOFLOW and path.parent != folder else path.stem) or "train"
        if split in files:
            raise UserError(f"{files[split]} and {path} both describe the {split} split: keep one of them")
        files[split] = path
    if not files:
        raise UserError(f"{folder} contains no annotations: no instances_*.json or annotations.json, in it or in its folder "
                        f"annotations, and no folder with {_ROBOFLOW}")
    return files


def _records(path, folder):
    """Returns ([(image path, file name, id, (height, width), segmentations, objects)], class names in the order of their
    ids)."""
    content = _json(path)

    def rows(name, /, **kinds):
        found = content.get(name)
        if not isinstance(found, list):
            raise UserError(f"{path} has no list of {name}: it is not a COCO annotation file")
        for row in found:
            for key, kind in kinds.items():
                if not isinstance(row, dict) or not isinstance(row.get(key), kind):
                    raise UserError(f"{path}: one of its {name} has a missing or invalid {key}: {str(row)[:100]}")
        return found

    categories = {}
    for row in sorted(rows("categories", id=int, name=str), key=lambda row: row["id"]):
        label = class_name(row["name"], f"the name of the category {row['id']} in {path}")
        if categories.setdefault(row["id"], label) != label:
            raise UserError(f"{path} gives the id {row['id']} to the categories {categories[row['id']]!r} and {label!r}")
    objects = collections.defaultdict(list)
    ids = {}  # of the category that is used, by name
    for row in rows("annotations", image_id=int, category_id=int, bbox=list):
        source = f"{path}: annotation {str(row.get('id'))[:80]}"
        if row["category_id"] not in categories:
            raise UserError(f"{source} has the category {row['category_id']}, which is not in the list of categories")
        label = categories[row["category_id"]]
        if ids.setdefault(label, row["category_id"]) != row["category_id"]:
            raise UserError(f"{path}: the categories {ids[label]} and {row['category_id']} have the same name {label!r}, and "
                            "both have annotations: rename or merge them")
        try:
            left, top, width, height = map(float, row["bbox"])
        except (TypeError, ValueError, OverflowError):
            raise UserError(f"{source} has the box {str(row['bbox'])[:80]}, not x, y, width, height") from None
        is_crowd = annotations.flag(row.get("iscrowd"), f"{source}: iscrowd")
        box = (top, left, top + height, left + width)
        objects[row["image_id"]].append(((label, box, is_crowd, False), row.get("segmentation")))
    records, places = [], _image_folders(path, folder)
    for row in rows("images", id=int, file_name=str):
        image = next(filter(None, (folders.find(place, row["file_name"]) for place in places)), None)
        if image is None:
            raise UserError(f"{path} lists the image {row['file_name'][:200]!r}, which is not in "
                            f"{', '.join(str(place) for place in places)}")
        size = [annotations.stated_side(row.get(side), f"{path}: the {side} of {row['file_name']}")
                for side in ("height", "width")]
        boxes, segmentations = zip(*objects.pop(row["id"], [])) if row["id"] in objects else ((), ())
        records.append((image, row["file_name"], row["id"], size, segmentations, boxes))
    if not records:
        raise UserError(f"{path} lists no images")
    if len({record[2] for record in records}) < len(records):
        raise UserError(f"{path} assigns the same id to two images")
    if objects:
        raise UserError(f"{path} has annotations of image {next(iter(objects))}, which it does not list")
    if not categories:
        raise UserError(f"{path} lists no categories")
    if any(abs(record[2]) > _LARGEST_ID for record in records):  # databases have such ids, which TensorFlow cannot hold
        records = [(*record[:2], number, *record[3:]) for number, record in enumerate(records)]
    return records, list(dict.fromkeys(categories.values()))


def _json(path):
    if path.stat().st_size > _MAX_JSON_BYTES:
        raise UserError(f"{path} is larger than {_MAX_JSON_BYTES:,} bytes")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} does not contain a JSON object: it is not a COCO annotation file")
    return content


def _image_folders(path, folder):
    if path.name == _ROBOFLOW:
        return [path.parent]
    ending = path.stem.partition("_")[2]
    places = [folder / "images" / ending, folder / ending] if ending else []
    places = dict.fromkeys([*places, folder / "images", folder, path.parent])
    return [place for place in places if place.is_dir()]
