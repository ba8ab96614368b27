"""The TFDS builders of images with boxes: the data that they hold, and the files that they refuse."""
import collections
import io
import json
import os
import pathlib
import subprocess
import sys
import zipfile

import numpy as np
import PIL.Image
import pytest

import training
from tests.training.small_images import image_bytes
from training.data import sources
from training.datasets import annotations, bccd, digit_scenes

SPLITS = ("train", "validation", "test")


def config(tmp_path, manual=None):
    return training.Config(data_dir=str(tmp_path / "prepared"), manual_dir=str(manual) if manual else None)


def examples(prepared, split):
    return list(sources.read(prepared, split).as_numpy_iterator())


# digit_scenes

@pytest.fixture(scope="module")
def scenes():
    """Returns 40 scenes of each split as (image, instances, objects, pixels of ink of each object before others cover it)."""
    inks = []
    contrasting = digit_scenes._contrasting

    def recorded(background, *others):  # gets the pixels under the ink of each digit that is kept
        inks.append(len(background))
        return contrasting(background, *others)

    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digit_scenes, "_contrasting", recorded)
        for split in SPLITS:
            digits, labels, _ = digit_scenes.digits_of(split)
            regions = digit_scenes.regions_of(split)
            found[split] = []
            for index in range(40):
                inks.clear()
                scene = digit_scenes.scene(digits, labels, regions, np.random.default_rng(index))
                found[split].append((*scene, list(inks)))
    return found


def test_digits_are_disjoint_and_stratified():
    parts = {split: digit_scenes.digits_of(split) for split in SPLITS}
    indices = np.concatenate([part[2] for part in parts.values()])
    assert sorted(indices) == list(range(1797))
    for split, share in (("train", 0.6), ("validation", 0.15), ("test", 0.25)):
        counts = np.bincount(parts[split][1], minlength=10) / 1797
        assert np.allclose(counts, share / 10, atol=0.005), split


def test_regions_are_disjoint_strips_of_the_photographs():
    from sklearn.datasets import load_sample_image

    columns = [digit_scenes.columns_of(split, 640) for split in SPLITS]
    assert sorted(np.concatenate(columns)) == list(range(640))
    photograph = load_sample_image("china.jpg")
    for split, part in zip(SPLITS, columns):
        assert np.array_equal(np.asarray(digit_scenes.regions_of(split)[0]), photograph[:, part])


def test_boxes_are_tight_around_the_visible_ink(scenes):
    for split in SPLITS:
        for _, instances, objects, _ in scenes[split]:
            assert set(np.unique(instances)) - {0} == set(range(1, len(objects) + 1))
            for number, thing in enumerate(objects, 1):
                rows, columns = np.nonzero(instances == number)
                box = np.array(thing["bbox"]) * 128
                assert box.tolist() == [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]


def test_at_most_two_fifths_of_a_digit_are_covered(scenes):
    shares = np.array([
        np.sum(instances == number) / ink
        for split in SPLITS for _, instances, _, inks in scenes[split] for number, ink in enumerate(inks, 1)])
    assert shares.min() >= 0.6
    assert shares.max() == 1.0
    assert np.mean(shares < 0.95) > 0.05  # and they do overlap


def test_scenes_hold_one_to_six_digits_of_16_to_48_pixels(scenes):
    counts = collections.Counter(len(objects) for split in SPLITS for _, _, objects, _ in scenes[split])
    assert set(counts) == {1, 2, 3, 4, 5, 6}
    heights = [128 * (thing["bbox"].ymax - thing["bbox"].ymin)
               for split in SPLITS for _, instances, objects, inks in scenes[split]
               for number, (thing, ink) in enumerate(zip(objects, inks), 1) if np.sum(instances == number) == ink]
    # rotation and the soft edge of the ink add a little or take it away
    assert 12 < min(heights) < 20 and 40 < max(heights) < 58


def test_attributes_describe_the_visible_digits(scenes):
    for image, instances, objects, _ in (scene for split in SPLITS for scene in scenes[split]):
        assert len({thing["colour"] for thing in objects}) == len(objects)
        for number, thing in enumerate(objects, 1):
            colors = {name: np.abs(np.median(image[instances == number], axis=0) - value).sum()
                      for name, value in digit_scenes.COLORS.items()}
            assert min(colors, key=colors.get) == thing["colour"]
            box = thing["bbox"]
            vertical = ("top", "", "bottom")[int(1.5 * (box.ymin + box.ymax))]
            horizontal = ("left", "", "right")[int(1.5 * (box.xmin + box.xmax))]
            assert thing["place"] == (f"{vertical} {horizontal}".strip() or "centre")


def test_digits_differ_from_their_surroundings(scenes):
    """A digit's color differs from the pixels just outside of its ink, in brightness or hue, nearly everywhere."""
    import scipy.ndimage

    weak = total = 0
    for image, instances, objects, _ in (scene for split in SPLITS for scene in scenes[split]):
        for number in range(1, len(objects) + 1):
            seen = instances == number
            ring = scipy.ndimage.binary_dilation(seen, iterations=4) & ~scipy.ndimage.binary_dilation(seen, iterations=2)
            difference = np.abs(image[ring].astype(float) - np.median(image[seen], axis=0)).max(-1)
            weak += np.median(difference) < 40
            total += 1
    assert weak / total < 0.02


def test_the_set_is_the_same_each_time(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    monkeypatch.setattr(digit_scenes, "EXAMPLES", {"train": 9, "validation": 3, "test": 4})
    encoded = {"image": tfds.decode.SkipDecoding(), "instances": tfds.decode.SkipDecoding()}
    found = []
    for name in ("one", "two"):
        prepared = sources.builder("digit_scenes", training.Config(data_dir=str(tmp_path / name)))
        found.append([example for split in SPLITS
                      for example in sources.read(prepared, split, decoders=encoded).as_numpy_iterator()])
    assert len(found[0]) == len(found[1]) == 16
    for one, two in zip(*found):  # the records themselves are not equal: protobuf orders their features at random
        assert one["image"] == two["image"] and one["instances"] == two["instances"]  # PNG files, byte by byte
        assert str(one["objects"]) == str(two["objects"]) and one["image/id"] == two["image/id"]
    assert len({int(example["image/id"]) for example in found[0]}) == 16
    for example in (example for split in SPLITS for example in examples(prepared, split)):
        assert example["image"].shape == (128, 128, 3)
        assert example["instances"].shape == (128, 128, 1)
        assert example["instances"].max() == len(example["objects"]["label"])


def test_another_process_makes_the_same_scenes(repository):
    program = """
import hashlib
import numpy as np
from training.datasets import digit_scenes
digits, labels, _ = digit_scenes.digits_of("test")
regions = digit_scenes.regions_of("test")
digest = hashlib.sha256()
for index in range(20):
    image, instances, objects = digit_scenes.scene(digits, labels, regions, np.random.default_rng(index))
    digest.update(image.tobytes() + instances.tobytes() + str(objects).encode())
print(digest.hexdigest())
"""
    digests = {subprocess.run(
        [sys.executable, "-c", program], cwd=repository, env=os.environ | {"PYTHONHASHSEED": seed}, check=True,
        capture_output=True, text=True).stdout for seed in ("1", "2")}
    assert len(digests) == 1


# bccd

def cells(tmp_path, members):
    """Writes a folder bccd whose zip file holds the given members, and returns the folder that holds it."""
    (tmp_path / "manual" / "bccd").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "manual" / "bccd" / "BCCD.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"BCCD/{name}", content)
    return tmp_path / "manual"


def voc_xml(objects, height=20, width=30):
    boxes = "".join(
        f"<object><name>{label}</name><difficult>{difficult}</difficult><bndbox><ymin>{box[0]}</ymin>"
        f"<xmin>{box[1]}</xmin><ymax>{box[2]}</ymax><xmax>{box[3]}</xmax></bndbox></object>"
        for label, box, difficult in objects)
    return (f"<annotation><size><width>{width}</width><height>{height}</height></size>{boxes}</annotation>").encode()


def small_cells():
    members = {}
    for part in ("train", "val", "test"):
        members[f"ImageSets/Main/{part}.txt"] = f"{part}_1\n{part}_2\n"
        for name in (f"{part}_1", f"{part}_2"):
            members[f"Annotations/{name}.xml"] = voc_xml([("RBC", (5, 6, 15, 18), 0), ("WBC", (0, 0, 20, 30), 1)])
            members[f"JPEGImages/{name}.jpg"] = image_bytes(20, 30, "jpeg")
    return members


def test_bccd_reads_its_zip(tmp_path):
    prepared = sources.builder("bccd", config(tmp_path, cells(tmp_path, small_cells())))
    for split in SPLITS:
        for example in examples(prepared, split):
            assert example["image"].shape == (20, 30, 3)
            assert example["objects"]["label"].tolist() == [0, 1]
            assert example["objects"]["is_difficult"].tolist() == [False, True]
            assert np.allclose(example["objects"]["bbox"][0], (5 / 20, 6 / 30, 15 / 20, 18 / 30))


@pytest.mark.parametrize("change, sentence", [
    ({"Annotations/val_2.xml": voc_xml([("cell", (1, 1, 5, 5), 0)])},
     "JPEGImages/val_2.jpg: the label 'cell' is not one of the classes RBC, WBC, Platelets"),
    ({"Annotations/val_2.xml": b"<annotation><object>"}, "val_2.xml is not well-formed XML"),
    ({"Annotations/val_2.xml": voc_xml([("RBC", ("a", 1, 5, 5), 0)])}, "'a' instead of a number"),
    ({"Annotations/val_2.xml": voc_xml([], height=21)}, "val_2.jpg has 30 x 20 pixels, but according to its annotation 30 x 21"),
    ({"JPEGImages/test_1.jpg": b"no image"}, "test_1.jpg is not an image"),
    ({"JPEGImages/test_1.jpg": image_bytes(200, 300, "jpeg")[:5000]}, "test_1.jpg is not an image, or is damaged"),
    ({"JPEGImages/test_1.jpg": None}, "BCCD.zip does not contain BCCD/JPEGImages/test_1.jpg"),
    ({"ImageSets/Main/test.txt": "../../test_1"}, "does not contain BCCD/Annotations/../../test_1.xml"),
    ({"ImageSets/Main/val.txt": ""}, "BCCD.zip.*ImageSets/Main/val.txt lists no images"),
])
def test_bccd_refuses_what_is_wrong_in_one_sentence(tmp_path, change, sentence):
    members = {name: content for name, content in (small_cells() | change).items() if content is not None}
    with pytest.raises(training.UserError, match=sentence) as error:
        sources.builder("bccd", config(tmp_path, cells(tmp_path, members)))
    assert "\n" not in str(error.value)
    with pytest.raises(training.UserError):  # a half-made data set is not used
        sources.builder("bccd", config(tmp_path))


def test_bccd_refuses_a_file_that_is_not_a_zip(tmp_path):
    manual = cells(tmp_path, {})
    (manual / "bccd" / "BCCD.zip").write_bytes(b"PK no zip")
    with pytest.raises(training.UserError, match="cannot be read as a zip file"):
        sources.builder("bccd", config(tmp_path, manual))


def test_bccd_refuses_a_member_that_unpacks_to_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr(annotations, "MAX_IMAGE_BYTES", 10_000)
    members = small_cells() | {"JPEGImages/train_1.jpg": bytes(20_000)}
    with pytest.raises(training.UserError, match="train_1.jpg unpacks to 20,000 bytes"):
        sources.builder("bccd", config(tmp_path, cells(tmp_path, members)))


def test_bccd_holds_what_its_authors_published(tmp_path, repository):
    manual = pathlib.Path(os.environ.get("SUITE_DATA", repository.parent / "shared" / "data"))
    if not (manual / "bccd" / "BCCD.zip").is_file():
        pytest.skip(f"no bccd/BCCD.zip in {manual}: set SUITE_DATA to the folder that holds it")
    written = collections.Counter()
    with zipfile.ZipFile(manual / "bccd" / "BCCD.zip") as archive:
        for name in archive.namelist():
            if name.endswith(".xml"):
                written.update(label for label, _, _ in annotations.voc(archive.read(name), name)[2])
    assert written == {"RBC": 4155, "WBC": 372, "Platelets": 361}
    prepared = sources.builder("bccd", config(tmp_path, manual))
    assert [prepared.info.splits[split].num_examples for split in SPLITS] == [205, 87, 72]
    kept = collections.Counter()
    for split in SPLITS:
        labels = sources.read(prepared, split).map(lambda example: example["objects"]["label"])
        for ids in labels.as_numpy_iterator():
            kept.update(bccd.CLASS_NAMES[index] for index in ids)
    assert kept == {"RBC": 4153, "WBC": 372, "Platelets": 361}  # two boxes of red cells are single points


# XML

def test_voc_xml_with_a_document_type_is_refused():
    bomb = '<!DOCTYPE a [<!ENTITY b "xxxxxxxxxx"><!ENTITY c "&b;&b;&b;">]><annotation><object>&c;</object></annotation>'
    for encoding in ("utf-8", "utf-16"):
        with pytest.raises(training.UserError, match="file.xml has a document type declaration"):
            annotations.voc(bomb.encode(encoding), "file.xml")
    external = b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>'
    with pytest.raises(training.UserError, match="document type"):
        annotations.voc(external, "file.xml")


def test_voc_xml_that_is_too_large_is_refused():
    with pytest.raises(training.UserError, match="larger than"):
        annotations.voc(b"<annotation>" + b" " * annotations.MAX_XML_BYTES + b"</annotation>", "file.xml")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"<a>&unknown;</a>", b'<?xml version="1.0" encoding="no"?><a/>'])
def test_content_that_is_not_xml_is_refused(content):
    with pytest.raises(training.UserError, match="file.xml is not well-formed XML"):
        annotations.voc(content, "file.xml")


# boxes and pictures

@pytest.mark.parametrize("yxyx, kept, fault", [
    ((2, 3, 8, 9), (0.2, 0.15, 0.8, 0.45), None),
    ((-5, 3, 8, 30), (0, 0.15, 0.8, 1), "clipped"),
    ((-0.5, 0, 10.5, 20), (0, 0, 1, 1), None),
    ((8, 3, 2, 9), None, "inverted"),
    ((2, 3, 2, 9), None, "empty"),
    ((20, 3, 30, 9), None, "outside the image"),
    ((2, float("nan"), 8, 9), None, "not a number"),
    ((2, 3, float("inf"), 9), None, "not a number"),
])
def test_boxes_are_clipped_or_dropped_and_counted(yxyx, kept, fault, capsys):
    boxes = annotations.Boxes()
    box = boxes.box(yxyx, height=10, width=20)
    assert box is None if kept is None else np.allclose(box, kept)
    assert boxes.faults == ({fault: 1} if fault else {})
    boxes.report("name")
    assert capsys.readouterr().err.count("\n") == (1 if fault else 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_upright(orientation):
    import tensorflow as tf

    from training.vision import images

    content = image_bytes(24, 40, "jpeg", orientation)
    picture = annotations.Picture(content, "file")
    shown = images.decode(content).numpy()  # as serving decodes it
    assert shown.shape[:2] == (picture.height, picture.width) == ((40, 24) if orientation > 4 else (24, 40))
    stored = tf.io.decode_image(picture.file.read()).numpy()
    assert np.abs(stored.astype(int) - shown).mean() < 3  # two JPEG decoders differ by rounding


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_of_an_image_on_its_side_are_turned_with_it(orientation):
    pixels = np.zeros((24, 40, 3), np.uint8)
    box = (4, 6, 12, 30)
    pixels[4:12, 6:30] = 255
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "jpeg", quality=100, exif=exif)

    def kept(size, box):
        found = annotations.example(file.getvalue(), "file", "file", 0, size, [("a", box, False, False)], ["a"],
                                    annotations.Boxes())
        image = np.asarray(PIL.Image.open(found["image"]))
        return np.array(found["objects"][0]["bbox"]) * (40, 24, 40, 24), image

    turned, image = kept((24, 40), box)  # the annotation describes the image as it is stored
    rows, columns = np.nonzero(image[..., 0] > 128)
    assert turned.round(4).tolist() == [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
    assert np.allclose(kept((40, 24), turned)[0], turned)  # and as it is shown
    assert np.allclose(kept((0, 0), turned)[0], turned)


@pytest.mark.parametrize("kind", ["bmp", "gif", "tiff", "webp", "png"])
def test_other_kinds_of_images_become_readable(kind):
    import tensorflow as tf

    picture = annotations.Picture(image_bytes(12, 17, kind), "file")
    assert tf.io.decode_image(picture.file.read(), channels=3).shape == (12, 17, 3)


def test_images_that_unpack_to_too_much_are_refused():
    file = io.BytesIO()
    PIL.Image.new("1", (40_000, 40_000)).save(file, "png")
    assert len(file.getvalue()) < 1_000_000
    with pytest.raises(training.UserError, match="file"):
        annotations.Picture(file.getvalue(), "file")
    file = io.BytesIO()
    PIL.Image.new("1", (10_000, 8_000)).save(file, "png")
    with pytest.raises(training.UserError, match="10000 x 8000 pixels, more than the limit"):
        annotations.Picture(file.getvalue(), "file")


# voc_folder

@pytest.fixture
def voc(tmp_path):
    folder = tmp_path / "own"
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for part, names in (("train", "abc"), ("val", "d"), ("test", "e")):
        (folder / f"ImageSets/Main/{part}.txt").write_text("".join(f"{name}  1\n" for name in names))
    for seed, name in enumerate("abcde"):
        ending = ".PNG" if name == "b" else ".jpg"
        (folder / f"JPEGImages/{name}{ending}").write_bytes(
            image_bytes(20, 30, "png" if name == "b" else "jpeg", seed=seed))
        (folder / f"Annotations/{name}.xml").write_bytes(
            voc_xml([("dog", (5, 6, 15, 18), 0), ("cat", (1, 1, 3, 4), 1)]))
    return folder


def test_voc_folder(tmp_path, voc):
    prepared = sources.builder("voc_folder", config(tmp_path, voc))
    assert prepared.info.features["objects"].feature["label"].names == ["cat", "dog"]
    assert {split: part.num_examples for split, part in prepared.info.splits.items()} == {
        "train": 3, "validation": 1, "test": 1}
    found = {example["image/filename"].decode(): example for example in examples(prepared, "train")}
    assert set(found) == {"a.jpg", "b.PNG", "c.jpg"}
    objects = found["b.PNG"]["objects"]
    assert objects["label"].tolist() == [1, 0] and objects["is_difficult"].tolist() == [False, True]
    assert np.allclose(objects["bbox"][0], (5 / 20, 6 / 30, 15 / 20, 18 / 30))
    ids = [int(example["image/id"]) for split in SPLITS for example in examples(prepared, split)]
    assert len(set(ids)) == 5


def test_a_changed_folder_is_another_data_set(tmp_path, voc):
    first = sources.builder("voc_folder", config(tmp_path, voc))
    again = sources.builder("voc_folder", config(tmp_path, voc))
    assert again.data_dir == first.data_dir
    assert again.info.features["objects"].feature["label"].names == ["cat", "dog"]
    (voc / "Annotations/a.xml").write_bytes(voc_xml([("horse", (5, 6, 15, 18), 0)]))
    changed = sources.builder("voc_folder", config(tmp_path, voc))
    assert changed.data_dir != first.data_dir
    assert changed.info.features["objects"].feature["label"].names == ["cat", "dog", "horse"]


def test_voc_folder_refuses_names_that_are_not_utf_8(tmp_path, voc):
    (voc / os.fsdecode(b"JPEGImages/\xff.jpg")).touch()
    with pytest.raises(training.UserError, match=r"JPEGImages/\\udcff.jpg' is not valid UTF-8"):
        sources.builder("voc_folder", config(tmp_path, voc))


def test_voc_folder_without_image_sets_is_all_for_training(tmp_path, voc):
    for file in (voc / "ImageSets/Main").glob("*"):
        file.unlink()
    prepared = sources.builder("voc_folder", config(tmp_path, voc))
    assert {split: part.num_examples for split, part in prepared.info.splits.items()} == {"train": 5}


def test_voc_folder_reports_how_many_boxes_it_dropped(tmp_path, voc, capfd):
    (voc / "Annotations/a.xml").write_bytes(voc_xml(
        [("dog", (5, 6, 5, 18), 0), ("dog", (9, 6, 5, 18), 0), ("dog", (5, 6, 99, 18), 0), ("dog", (1, 2, 3, 4), 0)]))
    prepared = sources.builder("voc_folder", config(tmp_path, voc))
    lines = capfd.readouterr().err.splitlines()
    assert lines == ["voc_folder, train: 1 box extends beyond the image and was clipped; "
                     "2 boxes were dropped (1 empty, 1 inverted)"]
    boxes = next(example for example in examples(prepared, "train") if example["image/filename"] == b"a.jpg")
    assert np.allclose(boxes["objects"]["bbox"], [(0.25, 0.2, 1, 0.6), (0.05, 2 / 30, 0.15, 4 / 30)])


@pytest.mark.parametrize("file, content, sentence", [
    ("labels.txt", b"dog\n", "b.PNG: the label 'cat' is not one of the classes dog|a.jpg: the label 'cat'"),
    ("ImageSets/Main/val.txt", b"\n", "val.txt lists no images"),
    ("ImageSets/Main/val.txt", b"x\n", "x.xml is listed by the data set but does not exist"),
    ("ImageSets/Main/val.txt", b"../../secret\n", "is outside the folder"),
    ("ImageSets/Main/val.txt", b"/etc/secret\n", "is outside the folder"),
    ("JPEGImages/d.jpg", b"", "d.jpg is not an image"),
    ("Annotations/d.xml", b"<!DOCTYPE a><a/>", "d.xml has a document type"),
])
def test_voc_folder_refuses_what_is_wrong(tmp_path, voc, file, content, sentence):
    (voc / file).write_bytes(content)
    with pytest.raises(training.UserError, match=sentence) as error:
        sources.builder("voc_folder", config(tmp_path, voc))
    assert "\n" not in str(error.value)


def test_voc_folder_refuses_another_layout(tmp_path, voc):
    with pytest.raises(training.UserError, match="does not contain the folder JPEGImages; did you mean .*own"):
        sources.builder("voc_folder", config(tmp_path, voc.parent))
    (voc / "JPEGImages/d.jpg").unlink()
    with pytest.raises(training.UserError, match="there is no image d in"):
        sources.builder("voc_folder", config(tmp_path, voc))


# coco_folder

def coco_json(names, boxes, **changes):
    content = {
        "images": [{"id": index, "file_name": name, "height": 20, "width": 30} for index, name in names.items()],
        "annotations": [
            {"id": index, "image_id": image, "category_id": category, "bbox": box, "iscrowd": crowd}
            for index, (image, category, box, crowd) in enumerate(boxes)],
        "categories": [{"id": 9, "name": "cat"}, {"id": 3, "name": "dog"}],
    }
    return json.dumps(content | changes)


@pytest.fixture
def coco(tmp_path):
    folder = tmp_path / "own"
    for name in ("annotations", "train2017", "images"):
        (folder / name).mkdir(parents=True)
    for name in ("train2017/a.jpg", "train2017/b.jpg", "images/c.jpg"):
        (folder / name).write_bytes(image_bytes(20, 30, "jpeg"))
    (folder / "annotations/instances_train2017.json").write_text(
        coco_json({17: "a.jpg", 18: "b.jpg"}, [(17, 9, [6, 5, 12, 10], 0), (17, 3, [0, 0, 30, 20], 1)]))
    (folder / "annotations/instances_val2017.json").write_text(coco_json({5: "c.jpg"}, [(5, 3, [1, 2, 3, 4], 0)]))
    return folder


def test_coco_folder(tmp_path, coco):
    prepared = sources.builder("coco_folder", config(tmp_path, coco))
    assert prepared.info.features["objects"].feature["label"].names == ["dog", "cat"]  # by category id
    assert {split: part.num_examples for split, part in prepared.info.splits.items()} == {"train": 2, "validation": 1}
    found = {int(example["image/id"]): example for example in examples(prepared, "train")}
    assert set(found) == {17, 18}
    assert len(found[18]["objects"]["label"]) == 0  # an image without objects stays
    objects = found[17]["objects"]
    assert objects["label"].tolist() == [1, 0] and objects["is_crowd"].tolist() == [False, True]
    assert np.allclose(objects["bbox"][0], (5 / 20, 6 / 30, 15 / 20, 18 / 30))


def test_coco_folder_with_one_file_beside_the_images(tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(image_bytes(20, 30, "jpeg"))
    (folder / "annotations.json").write_text(coco_json({1: "a.jpg"}, [(1, 9, [6, 5, 12, 10], 0)]))
    prepared = sources.builder("coco_folder", config(tmp_path, folder))
    assert {split: part.num_examples for split, part in prepared.info.splits.items()} == {"train": 1}


@pytest.mark.parametrize("content, sentence", [
    ("{", "instances_val2017.json is not JSON"),
    ("[" * 100_000, "instances_val2017.json is not JSON"),
    ("[]", "does not contain a JSON object"),
    ("{}", "has no list of categories"),
    (coco_json({}, []), "lists no images"),
    (coco_json({5: "x.jpg"}, []), "lists the image 'x.jpg', which is not in"),
    (coco_json({5: "../../secret.jpg"}, []), "is outside the folder"),
    (coco_json({5: "c.jpg"}, [(5, 4, [1, 2, 3, 4], 0)]), "category 4, which is not in the list of categories"),
    (coco_json({5: "c.jpg"}, [(6, 3, [1, 2, 3, 4], 0)]), "annotations of image 6, which it does not list"),
    (coco_json({5: "c.jpg"}, [(5, 3, [1, 2, 3], 0)]), "not x, y, width, height"),
    (coco_json({5: "c.jpg"}, [(5, 3, [1, 2, None, 3], 0)]), "not x, y, width, height"),
    (coco_json({5: "c.jpg"}, [(5, 3, "1234", 0)]), "one of its annotations has a missing or invalid bbox"),
    (coco_json({5: "c.jpg"}, [], images=[{"id": 5, "file_name": "c.jpg"}] * 2), "same id to two images"),
    (coco_json({5: "c.jpg"}, [], images=[{"id": 5, "file_name": "c.jpg", "height": 9, "width": 9}]),
     "c.jpg has 30 x 20 pixels, but according to its annotation 9 x 9"),
    (coco_json({5: "c.jpg"}, [], images=["c.jpg"]), "one of its images has a missing or invalid id"),
])
def test_coco_folder_refuses_what_is_wrong(tmp_path, coco, content, sentence):
    (coco / "annotations/instances_val2017.json").write_text(content)
    with pytest.raises(training.UserError, match=sentence) as error:
        sources.builder("coco_folder", config(tmp_path, coco))
    assert "\n" not in str(error.value)


def test_coco_folder_refuses_another_layout(tmp_path, coco):
    with pytest.raises(training.UserError, match="no instances_.*json"):
        sources.builder("coco_folder", config(tmp_path, coco / "images"))
    (coco / "instances_val.json").write_text(coco_json({5: "c.jpg"}, []))
    with pytest.raises(training.UserError, match="both describe the validation split"):
        sources.builder("coco_folder", config(tmp_path, coco))
