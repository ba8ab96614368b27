"""Our own TFDS builders of labelled images: what they hold, and what they refuse."""
import io
import os
import zipfile

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

import training
from tests.training.small_images import image_bytes
from training.data import sources
from training.datasets import annotations, cifar10_subset, digit_scenes, image_folder

SPLITS = ("train", "validation", "test")


def config(tmp_path, manual=None):
    return training.Config(data_dir=str(tmp_path / "prepared"), manual_dir=str(manual) if manual else None)


def counts(prepared):
    return {split: part.num_examples for split, part in prepared.info.splits.items()}


def stored(prepared):
    """Returns [(split, file of the image, label)] in the order in which they are stored."""
    encoded = {"image": tfds.decode.SkipDecoding()}
    return [(split, example["image"], int(example["label"])) for split in prepared.info.splits
            for example in sources.read(prepared, split, decoders=encoded).as_numpy_iterator()]


def check_refused(tmp_path, name, manual, sentence):
    """Checks that a data set is refused in one sentence, and that nothing half made is taken for it afterwards."""
    for _ in range(2):
        with pytest.raises(training.UserError, match=sentence) as error:
            sources.builder(name, config(tmp_path, manual))
        assert "\n" not in str(error.value) and "could not be prepared" not in str(error.value)


def test_all_have_the_keys_of_mnist(tmp_path):
    mnist = tfds.builder("mnist", data_dir=str(tmp_path)).info
    for name in ("digits", "cifar10_subset"):
        info = sources._builder_class(name)(data_dir=str(tmp_path)).info
        assert set(info.features) == set(mnist.features) == {"image", "label"}
        assert info.supervised_keys == mnist.supervised_keys == ("image", "label")


# digits

@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return sources.builder("digits", config(tmp_path_factory.mktemp("digits")))


def test_digits_are_those_of_scikit_learn_in_the_splits_of_the_scenes(digits):
    from sklearn.datasets import load_digits

    assert counts(digits) == {"train": 1078, "validation": 269, "test": 450}
    assert digits.info.features["image"].shape == (8, 8, 1)
    assert digits.info.features["label"].names == [str(digit) for digit in range(10)]
    images = load_digits().images
    for split in SPLITS:
        _, labels, indices = digit_scenes.digits_of(split)
        wanted = sorted((images[index].tobytes(), label) for index, label in zip(indices, labels))
        found = []
        for example in sources.read(digits, split).as_numpy_iterator():
            assert example["image"].shape == (8, 8, 1) and example["image"].dtype == np.uint8
            levels = np.ceil(example["image"][..., 0] / 16.0)  # 255 is the level 16, 240 the level 15
            found.append((levels.tobytes(), example["label"]))
        assert sorted(found) == wanted


def test_digits_are_disjoint_and_stratified(digits):
    found = stored(digits)
    assert len({file for _, file, _ in found}) == len(found) == 1797  # no two of the files are equal
    for split, share in zip(SPLITS, (0.6, 0.15, 0.25)):
        balance = np.bincount([label for part, _, label in found if part == split], minlength=10)
        assert np.allclose(balance / 1797, share / 10, atol=0.005)


def test_the_same_digits_twice(digits, tmp_path):
    again = sources.builder("digits", config(tmp_path))
    assert again.data_dir != digits.data_dir
    assert stored(again) == stored(digits)


# cifar10_subset

def photographs(train=3, test=2):
    """Returns the members of a small zip file, no two images alike."""
    names = [f"{split}/{label}/{number:04d}.jpg" for split, count in (("train", train), ("test", test))
             for label in cifar10_subset.CLASS_NAMES for number in range(count)]
    return {name: image_bytes(32, 32, seed=seed) for seed, name in enumerate(names)}


def packed(tmp_path, members):
    """Writes a folder cifar10 whose zip file holds the members given; returns the folder above it."""
    folder = tmp_path / "manual" / "cifar10"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "cifar10_10k_2k.zip", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return folder.parent


def test_cifar10_subset_keeps_the_files_of_its_zip(tmp_path):
    members = photographs()
    manual = packed(tmp_path, members | {"train/": b"", "README.txt": b"ignored"})
    prepared = sources.builder("cifar10_subset", config(tmp_path, manual))
    assert counts(prepared) == {"train": 30, "test": 20}
    names = prepared.info.features["label"].names
    assert names == ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    found = stored(prepared)
    assert sorted(found) == sorted(  # byte by byte, so the splits are as disjoint as the members
        (name.split("/")[0], content, names.index(name.split("/")[1])) for name, content in members.items())
    for split in ("train", "test"):
        assert {example["image"].shape for example in sources.read(prepared, split).as_numpy_iterator()} == {(32, 32, 3)}
    again = sources.builder("cifar10_subset", training.Config(data_dir=str(tmp_path / "again"), manual_dir=str(manual)))
    assert stored(again) == found
    assert [path.name for path in manual.rglob("*")] == ["cifar10", "cifar10_10k_2k.zip"]  # nothing was unpacked


@pytest.mark.parametrize("change, sentence", [
    ({"test/dog/0001.jpg": b"no image"}, "zip: test/dog/0001.jpg is not an image"),
    ({"test/dog/0001.jpg": b""}, "test/dog/0001.jpg is not an image"),
    ({"test/dog/0001.jpg": image_bytes(32, 32)[:600]}, "test/dog/0001.jpg is not an image, or is damaged"),
    ({"test/dog/0001.jpg": image_bytes(32, 31)}, "test/dog/0001.jpg is not an upright JPEG of 32 x 32 pixels"),
    ({"test/dog/0001.jpg": image_bytes(32, 32, "png")}, "test/dog/0001.jpg is not an upright JPEG"),
    ({"test/dog/0001.jpg": image_bytes(32, 32, orientation=6)}, "test/dog/0001.jpg is not an upright JPEG"),
    ({"test/dog/0001.jpg": bytes(2 ** 16 + 1)}, "test/dog/0001.jpg unpacks to 65,537 bytes, more than the limit"),
    ({"test/dog/0000.jpg": None, "test/dog/0001.jpg": None}, "does not contain test/dog/NNNN.jpg"),
    ({"test/wolf/0000.jpg": image_bytes(32, 32)}, "'test/wolf/0000.jpg' is not test/CLASS/NNNN.jpg of a class in airplane, "),
    ({"test/dog/../../0.jpg": image_bytes(32, 32)}, "'test/dog/../../0.jpg' is not test/CLASS/NNNN.jpg"),
    ({"test/dog/0\n1.jpg": image_bytes(32, 32)}, r"'test/dog/0\\n1.jpg' is not test/CLASS/NNNN.jpg"),
])
def test_cifar10_subset_refuses_what_is_wrong_in_one_sentence(tmp_path, change, sentence):
    members = {name: content for name, content in (photographs(1, 2) | change).items() if content is not None}
    check_refused(tmp_path, "cifar10_subset", packed(tmp_path, members), sentence)


def test_cifar10_subset_refuses_an_empty_zip(tmp_path):
    check_refused(tmp_path, "cifar10_subset", packed(tmp_path, {}), "zip does not contain train/airplane/NNNN.jpg")


def test_cifar10_subset_says_where_its_zip_belongs(tmp_path):
    check_refused(tmp_path, "cifar10_subset", None, "cifar10_subset needs --manual-dir: put the first 1,000 images")
    (tmp_path / "manual" / "bccd").mkdir(parents=True)
    check_refused(tmp_path, "cifar10_subset", tmp_path / "manual", "cifar10_10k_2k.zip does not exist: put the first 1,000")


@pytest.mark.parametrize("damage", ["cut", "changed", "other", "encrypted"])
def test_cifar10_subset_refuses_a_damaged_zip(tmp_path, damage):
    manual = packed(tmp_path, photographs(1, 1))
    path = manual / "cifar10" / "cifar10_10k_2k.zip"
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[len(content) // 2:]
    elif damage == "changed":
        content[500] ^= 1
    elif damage == "other":
        content = b"PK no zip"
    else:  # the flag in the directory and before the member
        content[content.index(b"PK\1\2") + 8] |= 1
        content[6] |= 1
    path.write_bytes(content)
    check_refused(tmp_path, "cifar10_subset", manual, "zip cannot be read as a zip file: .")


def test_a_zip_file_that_ends_inside_a_member_is_refused(tmp_path):
    def read():
        with annotations.archive(path, "instructions") as archive:
            annotations.member(archive, "name", 1000)
            raise EOFError  # what zipfile raises there, without a word

    path = tmp_path / "file.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("name", b"content")
    with pytest.raises(training.UserError, match="file.zip cannot be read as a zip file: unexpected end of file"):
        read()


# image_folder

def fill(folder, names):
    """Writes a JPEG for each name, no two alike."""
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(image_bytes(20, 30, seed=seed))


@pytest.fixture
def flat(tmp_path):
    folder = tmp_path / "own"
    fill(folder, ["dog/a.jpg", "dog/b.JPEG", "cat/a.jpg"])
    return folder


@pytest.fixture
def split(tmp_path):
    folder = tmp_path / "own"
    fill(folder, ["train/dog/a.jpg", "train/dog/b.jpg", "train/cat/a.jpg", "train/bird/a.jpg",
                  "val/dog/a.jpg", "val/cat/a.jpg", "test/cat/a.jpg"])
    return folder


def test_image_folder_by_class(tmp_path, flat):
    (flat / "dog" / "c.png").write_bytes(image_bytes(12, 17, "png"))
    (flat / "dog" / "notes.txt").write_text("no image")
    for name in ("._a.jpg", ".checkpoints/a.jpg"):  # what systems leave behind
        (flat / "cat" / name).parent.mkdir(exist_ok=True)
        (flat / "cat" / name).write_bytes(b"no image")
    prepared = sources.builder("image_folder", config(tmp_path, flat))
    assert isinstance(prepared, tfds.builder_cls("image_folder"))
    assert tfds.builder_cls("image_folder") is not tfds.ImageFolder  # TFDS's reader of that name is not registered
    assert counts(prepared) == {"train": 4}
    assert prepared.info.features["label"].names == ["cat", "dog"]
    assert set(prepared.info.features) == {"image", "label"} and prepared.info.supervised_keys == ("image", "label")
    files = {path.relative_to(flat).as_posix(): path.read_bytes() for path in flat.glob("[cd]*/[!.]*")}
    assert sorted(stored(prepared)) == sorted(("train", files[name], label) for name, label in (
        ("cat/a.jpg", 0), ("dog/a.jpg", 1), ("dog/b.JPEG", 1), ("dog/c.png", 1)))
    shapes = [example["image"].shape for example in sources.read(prepared, "train").as_numpy_iterator()]
    assert sorted(shapes) == [(12, 17, 3), (20, 30, 3), (20, 30, 3), (20, 30, 3)]


@pytest.mark.parametrize("names", [("train", "val", "test"), ("training", "Validation", "my_test_set")])
def test_image_folder_with_splits(tmp_path, split, names):
    for before, after in zip(("train", "val", "test"), names):
        (split / before).rename(split / after)
    prepared = sources.builder("image_folder", config(tmp_path, split))
    assert list(counts(prepared).items()) == [("train", 4), ("validation", 2), ("test", 1)]
    assert prepared.info.features["label"].names == ["bird", "cat", "dog"]
    found = stored(prepared)
    assert sorted(label for part, _, label in found if part == "train") == [0, 1, 2, 2]
    assert sorted(label for part, _, label in found if part == "validation") == [1, 2]
    assert [content for part, content, _ in found if part == "test"] == [(split / names[2] / "cat/a.jpg").read_bytes()]
    assert len({content for _, content, _ in found}) == 7


def test_the_same_image_folder_twice_and_a_changed_one(tmp_path, split):
    first = sources.builder("image_folder", config(tmp_path, split))
    assert sources.builder("image_folder", config(tmp_path, split)).data_dir == first.data_dir
    again = sources.builder("image_folder", training.Config(data_dir=str(tmp_path / "again"), manual_dir=str(split)))
    assert again.data_dir != first.data_dir and stored(again) == stored(first)
    fill(split, ["train/ant/a.jpg"])
    changed = sources.builder("image_folder", config(tmp_path, split))
    assert changed.info.features["label"].names == ["ant", "bird", "cat", "dog"]
    assert counts(changed)["train"] == 5


def test_image_folder_turns_images_upright(tmp_path, flat):
    (flat / "cat" / "a.jpg").write_bytes(image_bytes(20, 30, orientation=6))
    prepared = sources.builder("image_folder", config(tmp_path, flat))
    shapes = {int(example["label"]): example["image"].shape for example in sources.read(prepared, "train").as_numpy_iterator()}
    assert shapes == {0: (30, 20, 3), 1: (20, 30, 3)}


def test_image_folder_follows_links_that_stay_inside(tmp_path, flat):
    (flat / "cat" / "b.jpg").symlink_to("../dog/a.jpg")
    linked = tmp_path / "linked"
    linked.symlink_to(flat)  # what is named by hand may be a link
    assert counts(sources.builder("image_folder", config(tmp_path, linked))) == {"train": 4}


@pytest.mark.parametrize("link, target, sentence", [
    ("cat/b.jpg", "../../secret/a.jpg", "cat/b.jpg is a link to a place outside the folder .*own"),
    ("cat/b.jpg", "/nowhere/a.jpg", "cat/b.jpg is a link to a place outside the folder .*own"),
    ("wolf", "../secret", "own/wolf is a link to a place outside the folder"),
    ("wolf", "dog", "own/wolf is a link to another folder"),
    ("cat/round", "..", "cat/round is a link to another folder"),
    ("cat/b.jpg", "c.jpg", "cat/b.jpg is not a readable file"),
    ("cat/b.jpg", "b.jpg", "cat/b.jpg is not a readable file"),
])
def test_image_folder_refuses_other_links(tmp_path, flat, link, target, sentence):
    fill(tmp_path, ["secret/a.jpg"])
    (flat / link).symlink_to(target)
    check_refused(tmp_path, "image_folder", flat, sentence)


@pytest.mark.parametrize("name, content, sentence", [
    ("dog/a.jpg", b"", "own/dog/a.jpg is not an image"),
    ("dog/a.jpg", b"no image", "own/dog/a.jpg is not an image"),
    ("dog/a.jpg", image_bytes(200, 300)[:5000], "own/dog/a.jpg is not an image, or is damaged"),
    ("a.jpg", image_bytes(20, 30), "own/.*jpg is not in the folder of a class: the layout must be CLASS/IMAGE"),
    ("dog/inner/a.jpg", image_bytes(20, 30), "own/.*jpg is not in the folder of a class"),
    (" dog/a.jpg", image_bytes(20, 30), "the name of the folder '.*own/ dog' is not a valid class name"),
    ("d\nog/a.jpg", image_bytes(20, 30), r"the name of the folder '.*own/d\\nog' is not a valid class name"),
    (b"dog/\xff.jpg", image_bytes(20, 30), r"the file name '.*own/dog/\\udcff.jpg' is not valid UTF-8"),
    ("wolf/notes.txt", b"", r"own/wolf contains no images \(.jpg, .jpeg, .jfif, .png, .bmp, .gif, .webp, .tif, .tiff\)"),
])
def test_image_folder_refuses_what_is_wrong(tmp_path, flat, name, content, sentence):
    path = flat / os.fsdecode(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    check_refused(tmp_path, "image_folder", flat, sentence)


def test_image_folder_refuses_an_image_of_too_many_pixels(tmp_path, flat):
    file = io.BytesIO()
    PIL.Image.new("1", (10_000, 8_000)).save(file, "png")
    (flat / "dog" / "b.png").write_bytes(file.getvalue())
    check_refused(tmp_path, "image_folder", flat, "dog/b.png has 10000 x 8000 pixels, more than the limit")


@pytest.mark.parametrize("names, sentence", [
    (["test/wolf/a.jpg"], "test/wolf is a class without training images in .*train"),
    (["val/wolf/a.jpg"], "val/wolf is a class without training images in .*train"),
    (["validation/dog/a.jpg"], "own/val and .*own/validation are both for the validation split"),
    (["other/dog/a.jpg"], "the name of .*own/other does not contain train, val or test"),
    (["train/dog/inner/a.jpg"], "train/dog/inner/a.jpg is not in the folder of a class"),
])
def test_image_folder_refuses_wrong_splits(tmp_path, split, names, sentence):
    fill(split, names)
    check_refused(tmp_path, "image_folder", split, sentence)


@pytest.mark.parametrize("folder, sentence", [
    ("train/wolf", "train/wolf contains no images"),
    ("test/dog", "test/dog contains no images"),
    ("other", "the name of .*own/other does not contain train, val or test"),
])
def test_image_folder_refuses_empty_folders(tmp_path, split, folder, sentence):
    (split / folder).mkdir()
    check_refused(tmp_path, "image_folder", split, sentence)


@pytest.mark.parametrize("names, folders, sentence", [
    ([], [], "own contains no images .*: its layout must be CLASS/IMAGE, or"),
    ([], ["cat", "dog"], "own contains no images"),
    (["cat/a.jpg", "cat/b.jpg"], [], "own contains images of only one class, 'cat': at least two are needed"),
    (["train/cat/a.jpg", "test/cat/a.jpg"], [], "own/train contains images of only one class, 'cat'"),
    (["val/cat/a.jpg", "test/cat/a.jpg"], [], "own contains test, val, but no folder train"),
    (["test/cat/a.jpg"], ["train"], "own/train contains no images"),
    (["train/cat/a.jpg", "train/dog/a.jpg"], ["test"], "own/test contains no images"),
    (["a/b/c/d.jpg"], [], "own/a/b/c/d.jpg is not in the folder of a class"),
    (["a.jpg"], [], "own/a.jpg is not in the folder of a class"),
])
def test_image_folder_refuses_another_layout(tmp_path, names, folders, sentence):
    folder = tmp_path / "own"
    folder.mkdir()
    fill(folder, names)
    for name in folders:
        (folder / name).mkdir()
    check_refused(tmp_path, "image_folder", folder, sentence)


def test_image_folder_refuses_a_folder_that_cannot_be_listed(flat, monkeypatch):
    def scandir(path):  # the tests may run as one whom no permission stops
        if str(path).endswith("cat"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    listed = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(training.UserError, match="own/cat cannot be read: Permission denied"):
        image_folder.ImageFolder.files(flat)


def test_image_folder_needs_a_folder(tmp_path):
    check_refused(tmp_path, "image_folder", None, "image_folder needs --manual-dir: specify the folder")
    check_refused(tmp_path, "image_folder", tmp_path / "nowhere", "nowhere is not a folder")
