"""Semantic segmentation data of others: CamVid's archive, and folders of images and masks with all their faults."""
import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

import training
from tests.training.small_images import image_bytes
from training.data import sources
from training.datasets import camvid, masks

NAMES = ["sky", "road", "car"]
IDS = np.random.default_rng(0).integers(0, 3, (20, 30)).astype(np.uint8)
COLORS = np.array([(70, 130, 180), (128, 64, 128), (0, 0, 142)], np.uint8)


def saved(image, **options):
    file = io.BytesIO()
    image.save(file, "png", **options)
    return file.getvalue()


def gray(values, bits=8):
    return saved(Image.fromarray(values.astype(np.uint8 if bits == 8 else np.uint16)))


def palette(values):
    image = Image.fromarray(values)
    image.putpalette(np.random.default_rng(1).integers(0, 256, 768).astype(np.uint8).tobytes())  # its colors do not count
    return saved(image)


def packed(values, bits):
    """Returns a gray PNG with fewer than 8 bits per value, as other programs than Pillow write it."""
    rows = (np.unpackbits(values[..., None], axis=-1)[..., -bits:]).reshape(len(values), -1)
    content = b"".join(b"\0" + np.packbits(row).tobytes() for row in rows)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")


def folder_of(folder, mask=None, names=("a", "b"), classes="sky\nroad\ncar\n", split="train", size=(20, 30)):
    """Writes a folder with a mask for each image."""
    for kind in ("images", "masks"):
        (folder / split / kind).mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        (folder / split / "images" / f"{name}.jpg").write_bytes(image_bytes(*size, seed=seed))
        (folder / split / "masks" / f"{name}.png").write_bytes(gray(IDS) if mask is None else mask)
    if classes is not None:
        (folder / "classes.txt").write_bytes(classes.encode() if isinstance(classes, str) else classes)
    return folder


def opened(tmp_path, folder):
    return sources.builder("segmentation_folder", training.Config(data_dir=str(tmp_path / "prepared"), manual_dir=str(folder)))


def examples(prepared, split="train"):
    return list(sources.read(prepared, split).as_numpy_iterator())


def refused(tmp_path, folder, words):
    with pytest.raises(training.UserError, match=words) as error:
        opened(tmp_path, folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("mask", [
    gray(IDS), gray(IDS, 16), palette(IDS), packed(IDS, 2), packed(IDS, 4), saved(Image.fromarray(IDS).convert("LA")),
    saved(Image.fromarray(IDS).convert("RGB")), saved(Image.fromarray(IDS).convert("RGBA"))],
    ids=["gray", "16 bits", "palette", "2 bits", "4 bits", "gray with alpha", "gray in RGB", "gray in RGBA"])
def test_every_kind_of_mask_gives_the_same_classes(mask, tmp_path, capsys):
    prepared = opened(tmp_path, folder_of(tmp_path / "folder", mask))
    assert prepared.info.features["mask"].names == NAMES
    for example in examples(prepared):
        np.testing.assert_array_equal(example["mask"][..., 0], IDS)
        assert example["image"].shape == (20, 30, 3)
    assert "void" not in capsys.readouterr().err


def test_a_mask_of_one_bit_has_two_classes(tmp_path):
    bits = (IDS > 0).astype(np.uint8)
    prepared = opened(tmp_path, folder_of(tmp_path / "folder", saved(Image.fromarray(bits * 255).convert("1"))))
    np.testing.assert_array_equal(examples(prepared)[0]["mask"][..., 0], bits)


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "P"])
def test_colors_of_the_classes_count_where_they_are_given(kind, tmp_path, capsys):
    colors = COLORS[IDS].copy()
    colors[0, 0] = 1, 2, 3  # none of them
    mask = saved(Image.fromarray(colors).convert(kind, **({"palette": Image.Palette.ADAPTIVE} if kind == "P" else {})))
    classes = "".join(f"{name} {r} {g}, {b}\n" for name, (r, g, b) in zip(NAMES, COLORS.tolist()))
    found = examples(opened(tmp_path, folder_of(tmp_path / "folder", mask, classes=classes)))
    expected = IDS.copy()
    expected[0, 0] = masks.VOID
    np.testing.assert_array_equal(found[0]["mask"][..., 0], expected)
    assert "2 pixels in 2 masks have no class of the list, such as the color 010203: they are void" in capsys.readouterr().err


def test_values_outside_the_list_are_void_and_counted(tmp_path, capsys):
    values = IDS.copy()
    values[0, :5] = 17
    values[1, :4] = masks.VOID  # known to be void, and not counted
    found = examples(opened(tmp_path, folder_of(tmp_path / "folder", gray(values), names=["a"])))
    assert (found[0]["mask"][0, :5, 0] == masks.VOID).all() and (found[0]["mask"][1, :4, 0] == masks.VOID).all()
    assert "segmentation_folder, train: 5 pixels in 1 mask have no class of the list, such as the value 17" in capsys.readouterr().err


def test_a_line_called_void_is_no_class(tmp_path, capsys):
    found = opened(tmp_path, folder_of(tmp_path / "folder", classes="sky\nvoid\ncar\n"))
    assert found.info.features["mask"].names == ["sky", "car"]
    np.testing.assert_array_equal(examples(found)[0]["mask"][..., 0], np.array([0, masks.VOID, 1])[IDS])
    assert "have no class" not in capsys.readouterr().err


def test_a_mask_without_labels_is_said(tmp_path, capsys):
    opened(tmp_path, folder_of(tmp_path / "folder", gray(np.full((20, 30), 255))))
    assert "2 masks have no labeled pixel" in capsys.readouterr().err


def test_images_without_masks_and_masks_without_images_are_left_out_and_counted(tmp_path, capsys):
    folder = folder_of(tmp_path / "folder", names=["a", "b", "c"])
    (folder / "train" / "masks" / "b.png").unlink()
    (folder / "train" / "images" / "c.jpg").unlink()
    assert len(examples(opened(tmp_path, folder))) == 1
    said = capsys.readouterr().err
    assert "1 image has no mask, such as" in said and "1 mask has no image, such as" in said


@pytest.mark.parametrize("layout", ["{split}/{kind}", "{kind}/{split}", "{kind}/{split}/town"])
def test_splits_are_folders_above_or_below(layout, tmp_path):
    folder = tmp_path / "folder"
    for split, names in (("train", "ab"), ("val", "c"), ("test", "d")):
        for kind in ("images", "masks"):
            place = folder / layout.format(split=split, kind=kind)
            place.mkdir(parents=True)
            for name in names:
                (place / f"{name}.png").write_bytes(gray(IDS))
    (folder / "classes.txt").write_text("\n".join(NAMES))
    prepared = opened(tmp_path, folder)
    assert {split: part.num_examples for split, part in prepared.info.splits.items()} == {"train": 2, "validation": 1, "test": 1}


@pytest.mark.parametrize("classes, words", [
    (None, "does not contain classes.txt"), ("", "names 0 classes"), ("sky\n", "names 1 classes"), ("sky\nsky\n", "twice"),
    ("\n".join(f"class{k}" for k in range(256)), "names 256 classes"), ("sky 1 2 3\nroad\n", "but not for 'road'"),
    ("sky 1 2 3\nroad 1 2 3\n", "to two classes"), ("sky 1 2 3\nroad 1 2 300\n", "from 0 to 255"), (b"\xff\xfe\xff", "classes.txt")])
def test_lists_of_classes_that_are_wrong_are_refused(classes, words, tmp_path):
    refused(tmp_path, folder_of(tmp_path / "folder", classes=classes), words)


@pytest.mark.parametrize("mask, words", [
    (gray(IDS[:10]), r"a.png has 30 x 10 pixels, but its image 30 x 20"), (b"no image", "a.png is not an image"),
    (gray(IDS)[:60], "a.png is not an image, or is damaged"), (image_bytes(20, 30), "is a JPEG file, but a mask must be a PNG"),
    (saved(Image.fromarray(COLORS[IDS])), "a.png has colors: write the color of each class")])
def test_masks_that_are_wrong_are_refused(mask, words, tmp_path):
    refused(tmp_path, folder_of(tmp_path / "folder", mask), words)


def test_folders_that_hold_no_pairs_are_refused(tmp_path):
    folder = folder_of(tmp_path / "empty", names=())
    refused(tmp_path, folder, "contains no images")
    (folder / "train" / "images" / "a.jpg").write_bytes(image_bytes(20, 30))
    refused(tmp_path, folder, "contains no masks")
    (folder / "train" / "masks" / "other.png").write_bytes(gray(IDS))
    refused(tmp_path, folder, "no mask in .* has the name of an image")
    refused(tmp_path, folder_of(tmp_path / "test", split="test"), "test images with masks, but none for training")
    outside = folder_of(tmp_path / "above" / "inner")
    refused(tmp_path, outside.parent, "did you mean .*inner")


def test_a_pixel_wide_image_is_read(tmp_path):
    prepared = opened(tmp_path, folder_of(tmp_path / "folder", gray(IDS[:, :1]), size=(20, 1)))
    assert examples(prepared)[0]["mask"].shape == (20, 1, 1)


def archive(tmp_path, change=lambda members: None):
    """Writes CamVid's zip file with two frames in each split, and returns the folder that holds it."""
    members = {}
    for split, count in (("train", 2), ("val", 1), ("test", 1)):
        for number in range(count):
            members[f"CamVid/{split}/{split}_{number}.jpg"] = image_bytes(20, 30, seed=number)
            members[f"CamVid/{split}annot/{split}_{number}.png"] = gray(IDS + 9)
    change(members)
    (tmp_path / "manual" / "camvid").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "manual" / "camvid" / "CamVid_240x180.zip", "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return training.Config(data_dir=str(tmp_path / "prepared"), manual_dir=str(tmp_path / "manual"))


def test_camvid_reads_its_zip(tmp_path, capsys):
    prepared = sources.builder("camvid", archive(tmp_path))
    assert {split: part.num_examples for split, part in prepared.info.splits.items()} == {"train": 2, "validation": 1, "test": 1}
    assert prepared.info.features["mask"].names == camvid.CLASS_NAMES
    np.testing.assert_array_equal(examples(prepared)[0]["mask"][..., 0], np.array([9, 10, masks.VOID])[IDS])
    assert not capsys.readouterr().err  # its void is none to report


@pytest.mark.parametrize("change, words", [
    (lambda members: members.pop("CamVid/trainannot/train_0.png"), "does not contain CamVid/trainannot/train_0.png"),
    (lambda members: members.pop("CamVid/val/val_0.jpg"), "contains no frames in CamVid/val"),
    (lambda members: members.update({"CamVid/train/train_1.jpg": b"no"}), "train_1.jpg is not an image")])
def test_camvid_refuses_what_is_wrong_in_one_sentence(change, words, tmp_path):
    with pytest.raises(training.UserError, match=words):
        sources.builder("camvid", archive(tmp_path, change))
