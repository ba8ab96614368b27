"""Folders as users and their programs write them: names, lists, sizes and layouts, in all three builders."""
import json
import unicodedata

import numpy as np
import pytest

import training
from tests.training.small_images import image_bytes
from training.data import sources
from training.datasets import annotations, coco_folder, folders

NFC, NFD = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")


def opened(tmp_path, name, folder):
    return sources.builder(name, training.Config(data_dir=str(tmp_path / "prepared"), manual_dir=str(folder)))


def examples(prepared, split="train"):
    return list(sources.read(prepared, split).as_numpy_iterator())


def names_of(prepared):
    return prepared.info.features["objects"].feature["label"].names


def refused(tmp_path, name, folder, words):
    with pytest.raises(training.UserError, match=words) as error:
        opened(tmp_path, name, folder)
    assert "\n" not in str(error.value)


def voc(folder, images, lists=None, label="red", image="jpeg", ending=".jpg"):
    """Writes a VOC folder with a red object in each image; `lists` are bytes or texts by file name."""
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(images):
        (folder / "JPEGImages" / f"{name}{ending}").write_bytes(image_bytes(20, 30, image, seed=seed))
        (folder / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><object><name>{label}</name><bndbox><ymin>1</ymin><xmin>1</xmin><ymax>9</ymax><xmax>9</xmax></bndbox>"
            "</object></annotation>", encoding="utf-8")
    for name, content in (lists or {}).items():
        (folder / "ImageSets" / "Main" / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def coco(folder, names=("a.jpg",), category="red", file="instances_train.json", image=None, objects=None, **image_fields):
    """Writes a COCO folder with one annotation for each image."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        (folder / "images" / name).write_bytes(image or image_bytes(20, 30, seed=seed))
    categories = [category] if isinstance(category, str) else category
    content = {
        "images": [{"id": number, "file_name": name} | image_fields for number, name in enumerate(names)],
        "annotations": [{"id": number, "image_id": number, "category_id": 0, "bbox": [2, 3, 10, 5]} | (objects or {})
                        for number in range(len(names))],
        "categories": [{"id": number, "name": name} for number, name in enumerate(categories)]}
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(json.dumps(content))
    return folder


# names of classes

def test_names_of_classes_are_the_same_in_every_process(tmp_path):
    for name, folder in (("coco_folder", coco(tmp_path / "coco", category=[" red", NFD, "green "])),
                         ("voc_folder", voc(tmp_path / "voc", ["a"], label=f" {NFD} "))):
        first, second = (names_of(opened(tmp_path, name, folder)) for _ in range(2))
        assert first == second == (["red", NFC, "green"] if name == "coco_folder" else [NFC])


@pytest.mark.parametrize("label", ["", "  ", "traffic\n  light"])
def test_names_of_classes_that_do_not_survive_are_refused(tmp_path, label):
    refused(tmp_path, "voc_folder", voc(tmp_path / "voc", ["a"], label=label),
            "the name of an object in .*Annotations/a.xml is not a valid class name")
    refused(tmp_path, "coco_folder", coco(tmp_path / "coco", category=label),
            "the name of the category 0 in .*instances_train.json is not a valid class name")


def test_two_categories_of_one_name_are_refused_where_both_are_used(tmp_path):
    folder = coco(tmp_path / "own", ["a.jpg", "b.jpg"], ["red", "red "])
    assert names_of(opened(tmp_path, "coco_folder", folder)) == ["red"]  # as Roboflow writes it: the first one is used
    content = json.loads((folder / "instances_train.json").read_text())
    content["annotations"][1]["category_id"] = 1
    (folder / "instances_train.json").write_text(json.dumps(content))
    refused(tmp_path, "coco_folder", folder, "instances_train.json: the categories 0 and 1 have the same name 'red'")


def test_two_categories_of_one_id_are_refused(tmp_path):
    folder = coco(tmp_path / "own", category=["red", "green"])
    content = json.loads((folder / "instances_train.json").read_text())
    content["categories"][1]["id"] = 0
    (folder / "instances_train.json").write_text(json.dumps(content))
    refused(tmp_path, "coco_folder", folder, "instances_train.json gives the id 0 to the categories 'red' and 'green'")


@pytest.mark.parametrize("content, words", [
    (b"\r\n \n", "labels.txt names no class"),
    ("green\nred\ngreen\n".encode(), "labels.txt lists the name 'green' twice"),
    ("grün\nred\n".encode("cp1252"), "labels.txt is not UTF-8 text"),
    (b"red\x00\n", "labels.txt is not UTF-8 text"),
])
def test_lists_of_classes_that_cannot_be_read_are_refused(tmp_path, content, words):
    folder = voc(tmp_path / "own", ["a"])
    (folder / "labels.txt").write_bytes(content)
    refused(tmp_path, "voc_folder", folder, words)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_lists_are_read_in_the_encodings_of_windows(tmp_path, encoding):
    folder = voc(tmp_path / "own", ["é", "b", "c"], {
        "train.txt": "é\r\nb\r\n".encode(encoding), "test.txt": "c\r\n".encode(encoding)})
    (folder / "labels.txt").write_bytes(" red\r\n\r\ngrün\r\n".encode(encoding))
    prepared = opened(tmp_path, "voc_folder", folder)
    assert names_of(prepared) == ["red", "grün"]
    assert {example["image/filename"].decode() for example in examples(prepared)} == {"é.jpg", "b.jpg"}


# names of files

def test_a_whole_line_is_a_name(tmp_path, capfd):
    images = ["scan", "scan (2)", "scan (3)", "IMG 000", "a 1", "b", "c"]
    folder = voc(tmp_path / "own", images, {"train.txt": "scan\nscan (2)\nscan (3)\nIMG 000 1\na 1\nb  -1\nb 0\n", "test.txt": "c"})
    prepared = opened(tmp_path, "voc_folder", folder)
    assert {example["image/filename"].decode() for example in examples(prepared)} == {f"{name}.jpg" for name in images[:-1]}
    assert "train.txt lists 1 image more than once, such as b: each is used once" in capfd.readouterr().err


def test_an_image_in_two_lists_is_said(tmp_path, capfd):
    folder = voc(tmp_path / "own", "abc", {"train.txt": "a\nb", "val.txt": "b\r\nc\r\n"})
    assert len(examples(opened(tmp_path, "voc_folder", folder), "validation")) == 2
    assert "train.txt and val.txt both list 1 image, such as b: the splits are not independent" in capfd.readouterr().err


def test_names_of_files_are_found_in_both_normal_forms(tmp_path):
    for written, listed in ((NFC, NFD), (NFD, NFC)):
        folder = voc(tmp_path / f"voc {listed}", [written], {"train.txt": f"{listed}\n"})
        assert opened(tmp_path, "voc_folder", folder).info.splits["train"].num_examples == 1
        folder = coco(tmp_path / f"coco {listed}", [f"{written}.jpg"])
        text = (folder / "instances_train.json").read_text().replace(json.dumps(written)[1:-1], json.dumps(listed)[1:-1])
        (folder / "instances_train.json").write_text(text)
        assert opened(tmp_path, "coco_folder", folder).info.splits["train"].num_examples == 1


def test_class_folders_are_the_same_in_both_normal_forms(tmp_path):
    folder = tmp_path / "own"
    for seed, place in enumerate((f"train/{NFC}", "train/dog", f"val/{NFD}", "test/dog")):
        (folder / place).mkdir(parents=True)
        (folder / place / "a.jpg").write_bytes(image_bytes(20, 30, seed=seed))
    prepared = opened(tmp_path, "image_folder", folder)
    assert prepared.info.features["label"].names == [NFC, "dog"]
    assert [int(example["label"]) for example in examples(prepared, "validation")] == [0]
    (folder / "train" / NFD).mkdir()
    (folder / "train" / NFD / "b.jpg").write_bytes(image_bytes(20, 30, seed=9))
    refused(tmp_path, "image_folder", folder, "is not a valid class name: it differs from .* only in")


# endings, and what is left out

def test_every_kind_of_image_is_used_and_the_rest_counted(tmp_path, capsys):
    folder = tmp_path / "own"
    kinds = {"a.jpg": "jpeg", "b.JFIF": "jpeg", "c.webp": "webp", "d.tif": "tiff", "e.tiff": "tiff", "f.bmp": "bmp"}
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for seed, (name, kind) in enumerate(kinds.items()):
            (folder / label / name).write_bytes(image_bytes(20, 30, kind, seed=seed))
        for name in ("g.heic", "notes.txt", "README"):
            (folder / label / name).write_bytes(b"no image")
    prepared = opened(tmp_path, "image_folder", folder)
    assert prepared.info.splits["train"].num_examples == 12
    assert capsys.readouterr().out == ("preparing image_folder (once): images: 12 train; files skipped: 2 .heic, 2 .txt, "
                                       "2 without an extension\n")


@pytest.mark.parametrize("kind, ending", [("webp", ".webp"), ("tiff", ".TIF")])
def test_a_replaced_file_of_any_kind_is_noticed(tmp_path, kind, ending):
    own = voc(tmp_path / "voc", ["a"], image=kind, ending=ending)
    own_coco = coco(tmp_path / "coco", [f"a{ending}", "without"], image=image_bytes(20, 30, kind))
    for name, folder, paths in (("voc_folder", own, ["JPEGImages/a" + ending]),
                                ("coco_folder", own_coco, [f"images/a{ending}", "images/without"])):
        for seed, path in enumerate(paths, 7):
            before = opened(tmp_path, name, folder)
            (folder / path).write_bytes(image_bytes(24, 30, kind, seed=seed))
            after = opened(tmp_path, name, folder)
            assert before.data_dir != after.data_dir
            assert sorted(example["image"].shape[0] for example in examples(after))[-1] == 24


def test_files_behind_links_are_seen_and_circles_end(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jpg").write_bytes(b"1")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "images").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "own")
    for name in ("._a.jpg", ".DS_Store"):
        (tmp_path / "own" / name).write_bytes(b"1")
    assert folders.listed(tmp_path / "own") == [tmp_path / "own" / "images" / "a.jpg"]


# annotations

@pytest.mark.parametrize("value, is_crowd", [(0, False), ("0", False), (False, False), ("false", False), (None, False), (0.0, False),
                                             (1, True), ("1", True), (True, True), ("True", True)])
def test_crowds_are_told_by_meaning(tmp_path, value, is_crowd):
    config = coco_folder.CocoFolder.config_for(coco(tmp_path / "own", objects={"iscrowd": value}), "identity")
    assert [crowd for *_, objects in config.parts["train"] for _, _, crowd, _ in objects] == [is_crowd]


@pytest.mark.parametrize("value", ["no", [0], {}, 2, "", -1])
def test_other_values_of_crowds_are_refused(tmp_path, value):
    refused(tmp_path, "coco_folder", coco(tmp_path / "own", objects={"iscrowd": value}),
            "instances_train.json: annotation 0: iscrowd is .* but must be 0 or 1")


@pytest.mark.parametrize("width", [30, 30.0, "30"])
def test_the_size_of_an_image_on_its_side_may_be_of_any_type(tmp_path, width):
    content = image_bytes(20, 30, orientation=6)
    folder = coco(tmp_path / "own", image=content, width=width, height=type(width)(20))
    example = examples(opened(tmp_path, "coco_folder", folder))[0]
    assert example["image"].shape == (30, 20, 3)
    # x 2 to 12 and y 3 to 8 of the stored image: y 2 to 12 and x 12 to 17 of the upright one
    assert np.allclose(example["objects"]["bbox"][0], (2 / 30, 12 / 20, 12 / 30, 17 / 20))


@pytest.mark.parametrize("side, words", [
    (15, "has 30 x 20 pixels, but according to its annotation 15 x 20"), ("15.0", "but according to its annotation 15 x 20"),
    (30.5, "but according to its annotation 30.5 x 20"), ("wide", "the width of a.jpg is 'wide', but must be a number of pixels"),
    ([30], "the width of a.jpg is"), (True, "the width of a.jpg is"), (10 ** 400, "the width of a.jpg is"),
])
def test_wrong_sizes_are_refused(tmp_path, side, words):
    refused(tmp_path, "coco_folder", coco(tmp_path / "own", width=side, height=20), words)


@pytest.mark.parametrize("side", [-1, 0, "-1", None, "", 0.5])
def test_sizes_below_one_are_unknown(tmp_path, side):
    prepared = opened(tmp_path, "coco_folder", coco(tmp_path / "own", width=side, height=side))
    assert prepared.info.splits["train"].num_examples == 1


def test_what_macos_zips_is_passed_over(tmp_path):
    folder = tmp_path / "own"
    for path in ("cat/a.png", "dog/b.png", "__MACOSX/cat/._a.png"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(image_bytes(20, 30, "png"))
    assert opened(tmp_path, "image_folder", folder).info.features["label"].names == ["cat", "dog"]


def test_a_name_that_cannot_be_seen_is_shown_by_numbers(tmp_path):
    refused(tmp_path, "voc_folder", voc(tmp_path / "own", ["a"], {"train.txt": "a\u200b\n"}), r"a.u200b.xml' is listed by the data")


@pytest.mark.parametrize("width", ["", " ", "-1", "0"])
def test_sizes_that_xml_leaves_open_are_unknown(width):
    xml = f"<annotation><size><width>{width}</width><height>{width}</height></size></annotation>"
    assert max(annotations.voc(xml.encode(), "a.xml")[:2]) < 1


def test_ids_that_tensorflow_cannot_hold(tmp_path):
    folder = coco(tmp_path / "own", ["a.jpg", "b.jpg"])
    text = (folder / "instances_train.json").read_text()
    text = text.replace('"id": 1, "file_name"', f'"id": {2 ** 64}, "file_name"').replace('"image_id": 1', f'"image_id": {2 ** 64}')
    (folder / "instances_train.json").write_text(text)
    found = examples(opened(tmp_path, "coco_folder", folder))
    assert sorted(int(example["image/id"]) for example in found) == [0, 1]
    assert [len(example["objects"]["label"]) for example in found] == [1, 1]


# splits and layouts

@pytest.mark.parametrize("name, split", [
    ("instances_train2017", "train"), ("instances_val2017", "validation"), ("valid", "validation"), ("Validation", "validation"),
    ("my_test_set", "test"), ("image_info_test-dev2017", "test"), ("instances_minival2014", "validation"), ("testset", "test"),
    ("trainingImages", "train"), ("myTest", "test"), ("TRAIN", "train"), ("trainval", "train"),
    ("instances_latest", None), ("contest", None), ("interval", None), ("constraints", None)])
def test_splits_are_told_by_whole_words(name, split):
    assert folders.split_of(name) == split


def test_a_file_called_latest_is_no_test_split(tmp_path):
    prepared = opened(tmp_path, "coco_folder", coco(tmp_path / "own", file="instances_latest.json"))
    assert list(prepared.info.splits) == ["train"]


def test_the_layout_of_roboflow(tmp_path):
    folder = tmp_path / "own"
    for split, names in (("train", ["a.jpg", "b.jpg"]), ("valid", ["c.jpg"]), ("test", ["d.jpg"])):
        coco(folder, names, file=f"{split}/_annotations.coco.json")
        for name in names:
            (folder / "images" / name).rename(folder / split / name)
    prepared = opened(tmp_path, "coco_folder", folder)
    assert {split: part.num_examples for split, part in prepared.info.splits.items()} == {"train": 2, "validation": 1, "test": 1}


def splits_of(tmp_path, folder):
    return {split: part.num_examples for split, part in opened(tmp_path, "voc_folder", folder).info.splits.items()}


def test_trainval_is_read_where_there_is_no_train(tmp_path, capsys):
    folder = voc(tmp_path / "one", "abcdef", {"trainval.txt": "a\nb\nc\nd\n"})
    assert splits_of(tmp_path, folder) == {"train": 4}
    assert "images: 4 train; files skipped: 2 .jpg, 2 .xml" in capsys.readouterr().out
    assert splits_of(tmp_path, voc(folder, "", {"test.txt": "e\nf\n"})) == {"train": 4, "test": 2}
    assert splits_of(tmp_path, voc(folder, "", {"val.txt": "d\n"})) == {"train": 3, "validation": 1, "test": 2}
    assert splits_of(tmp_path, voc(folder, "", {"train.txt": "a\n"})) == {"train": 1, "validation": 1, "test": 2}


def test_a_missing_training_list_is_named(tmp_path, capfd):
    folder = voc(tmp_path / "own", "ab", {"test.txt": "a\n"})
    refused(tmp_path, "voc_folder", folder,
            "ImageSets/Main contains neither train.txt nor trainval.txt with the training images, only test.txt")
    (folder / "ImageSets/Main/test.txt").rename(folder / "ImageSets/Main/default.txt")
    assert splits_of(tmp_path, folder) == {"train": 2}
    assert "contains none of train.txt, trainval.txt" in capfd.readouterr().err


def test_hidden_files_are_passed_over(tmp_path):
    folder = voc(tmp_path / "own", "ab")
    for name in ("Annotations/._a.xml", "JPEGImages/._a.jpg", "ImageSets/Main/._train.txt"):
        (folder / name).write_bytes(b"\0\5\26\7")
    assert splits_of(tmp_path, folder) == {"train": 2}


@pytest.mark.parametrize("names", [("train", "test"), ("train", "val", "test"), ("train2017", "valid")])
def test_splits_without_classes_are_refused(tmp_path, names):
    for seed, name in enumerate(names):
        (tmp_path / "own" / name).mkdir(parents=True)
        (tmp_path / "own" / name / "a.jpg").write_bytes(image_bytes(20, 30, seed=seed))
    refused(tmp_path, "image_folder", tmp_path / "own", "own/.* without a folder for each class: the layout must be CLASS/IMAGE")


def test_classes_may_be_called_like_splits_among_others(tmp_path):
    for seed, name in enumerate(("test tube", "train", "dog")):
        (tmp_path / "own" / name).mkdir(parents=True)
        (tmp_path / "own" / name / "a.jpg").write_bytes(image_bytes(20, 30, seed=seed))
    assert opened(tmp_path, "image_folder", tmp_path / "own").info.features["label"].names == ["dog", "test tube", "train"]
