"""Instance masks of the builders: what COCO's formats hold, what is faulty and counted, and Penn-Fudan's pedestrians."""
import io
import json
import os
import pathlib
import zipfile

import numpy as np
import PIL.Image
import pytest

import training
from tests.training.small_images import image_bytes
from training.data import sources
from training.datasets import annotations, instance_masks
from training.vision.detection import masks as vision_masks

HEIGHT, WIDTH = 20, 30


def rectangle(top, left, bottom, right):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def run_lengths(mask):
    """Returns COCO's uncompressed run lengths: column by column, background first."""
    flat = mask.T.ravel()
    ends = np.flatnonzero(np.diff(np.concatenate([[False], flat, [not flat[-1]]]).astype(int)))
    return {"size": list(mask.shape), "counts": np.diff(np.concatenate([[0], ends])).tolist()}


MASK = rectangle(3, 5, 11, 17)
MASK[6, 9] = False  # a hole, which a polygon cannot have
POLYGON = [[5, 3, 17, 3, 17, 11, 5, 11]]


def compressed(mask):
    return {"size": list(mask.shape), "counts": vision_masks.run_lengths(mask)["counts"].decode()}


@pytest.mark.parametrize("segmentation, wanted", [
    (run_lengths(MASK), MASK), (compressed(MASK), MASK), (POLYGON, rectangle(3, 5, 11, 17)),
    ([POLYGON[0], [20, 0, 30, 0, 30, 5, 20, 5]], rectangle(3, 5, 11, 17) | rectangle(0, 20, 5, 30)),
    ([[-8, -8, 10, -8, 10, 4, -8, 4]], rectangle(0, 0, 4, 10)), (run_lengths(rectangle(7, 7, 8, 8)), rectangle(7, 7, 8, 8)),
    (run_lengths(np.ones((HEIGHT, WIDTH), bool)), np.ones((HEIGHT, WIDTH), bool)),
])
def test_segmentations_are_what_pycocotools_makes_of_them(segmentation, wanted):
    counted = instance_masks.Masks()
    found = counted.mask(segmentation, HEIGHT, WIDTH)
    coco = pytest.importorskip("pycocotools.coco").COCO()
    coco.dataset = {"images": [{"id": 1, "height": HEIGHT, "width": WIDTH}], "annotations": [], "categories": []}
    coco.imgs = {1: coco.dataset["images"][0]}
    assert np.array_equal(found, coco.annToMask({"image_id": 1, "segmentation": segmentation}).astype(bool))
    assert np.array_equal(found, wanted) and not counted.faults


@pytest.mark.parametrize("segmentation, fault", [
    (None, "missing"), ([], "missing"),
    ([[1, 1, 5, 5]], "with a polygon of fewer than three points"), ([[]], "with a polygon of fewer than three points"),
    ([[1, 1, 5, 5, 9]], "with invalid coordinates"), ([[1, 1, 5, "x", 9, 9]], "with invalid coordinates"),
    ([[1, 1, 5, None, 9, 9]], "with invalid coordinates"), ([[1, 1, 5, [2], 9, 9]], "with invalid coordinates"),
    ([[1, 1, 5, float("nan"), 9, 9]], "with invalid coordinates"),
    ([[1, 1, 1e9, 1, 1e9, 1e9]], "with coordinates far outside the image"),
    ([[10 ** 400, 1, 5, 5, 9, 9]], "with invalid coordinates"),
    ([[40, 3, 50, 3, 50, 9, 40, 9]], "empty or outside the image"), ([[5, 5, 5, 5, 5, 5]], "empty or outside the image"),
    ("M 1 1", "in an unknown format"), ([1, 1, 5, 5, 9, 9], "in an unknown format"), ({"size": [HEIGHT, WIDTH]}, "in an unknown format"),
    ({"size": [HEIGHT, WIDTH], "counts": "é"}, "in an unknown format"),
    ({"size": [WIDTH, HEIGHT], "counts": [600]}, "of another size than the image"),
    ({"size": [10 ** 9, 10 ** 9], "counts": [10 ** 18]}, "of another size than the image"),
    ({"size": None, "counts": [600]}, "of another size than the image"),
    ({"size": [HEIGHT, WIDTH], "counts": [10 ** 18]}, "with run lengths that do not add up to the image"),
    ({"size": [HEIGHT, WIDTH], "counts": [100, 499]}, "with run lengths that do not add up to the image"),
    ({"size": [HEIGHT, WIDTH], "counts": [-5, 605]}, "with run lengths that do not add up to the image"),
    ({"size": [HEIGHT, WIDTH], "counts": [300.0, 300.0]}, "with run lengths that do not add up to the image"),
    ({"size": [HEIGHT, WIDTH], "counts": compressed(MASK)["counts"][:-2]}, "with run lengths that do not add up to the image"),
    ({"size": [HEIGHT, WIDTH], "counts": "ooooooooooooooo"}, "with run lengths that do not add up to the image"),
    ({"size": [HEIGHT, WIDTH], "counts": ""}, "with run lengths that do not add up to the image"),
    ({"size": [HEIGHT, WIDTH], "counts": [600]}, "empty or outside the image"),
])
def test_faulty_segmentations_are_counted(segmentation, fault, capsys):
    counted = instance_masks.Masks()
    assert counted.mask(segmentation, HEIGHT, WIDTH) is None
    counted.report("some set, train")
    assert capsys.readouterr().err == f"some set, train: 1 object has a box, but no mask (1 {fault})\n"


def test_an_outline_without_end_is_refused_before_it_takes_memory():
    zigzag = np.tile([[-30.0, 0.0], [60.0, 20.0]], (20_000, 1))
    counted = instance_masks.Masks()
    assert counted.mask([zigzag.ravel().tolist()], HEIGHT, WIDTH) is None
    assert counted.faults == {"with an outline that is too long": 1}


def coco_set(tmp_path, segmentations, image=None, **image_fields):
    folder = tmp_path / "own"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "a.jpg").write_bytes(image or image_bytes(HEIGHT, WIDTH, "jpeg"))
    (folder / "instances_train.json").write_text(json.dumps({
        "images": [{"id": 1, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH} | image_fields],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": number, "image_id": 1, "category_id": 1, "bbox": [5, 3, 12, 8], "iscrowd": int("counts" in str(each)),
                         **({} if each is None else {"segmentation": each})} for number, each in enumerate(segmentations)]}))
    prepared = sources.builder("coco_folder", training.Config(data_dir=str(tmp_path / "prepared"), manual_dir=str(folder)))
    (example,) = sources.read(prepared, "train").as_numpy_iterator()
    return example["objects"], example["image"].shape[:2]


def test_coco_folder_keeps_overlapping_masks_exactly(tmp_path, capfd):
    objects, size = coco_set(tmp_path, [run_lengths(MASK), compressed(rectangle(0, 0, 20, 30)), POLYGON, None, [[1, 1, 2, 2]]])
    found = [vision_masks.opened(file, corner, *size) if file else None
             for file, corner in zip(objects["mask"], objects["mask_corner"])]
    for mask, wanted in zip(found, (MASK, rectangle(0, 0, 20, 30), rectangle(3, 5, 11, 17))):
        assert np.array_equal(mask, wanted)
    assert found[3:] == [None, None] and len(objects["bbox"]) == 5  # the boxes stay
    assert ("coco_folder, train: 2 objects have a box, but no mask (1 missing, 1 with a polygon of fewer than three points)"
            in capfd.readouterr().err)


def test_coco_folder_without_segmentations_says_nothing_about_masks(tmp_path, capfd):
    objects, _ = coco_set(tmp_path, [None, []])
    assert objects["mask"].tolist() == [b"", b""] and "mask" not in capfd.readouterr().err


def test_a_thousand_objects_in_one_image(tmp_path):
    objects, _ = coco_set(tmp_path, [POLYGON, [[5, 5, 6, 5, 6, 6, 5, 6]]] * 500)
    assert len(objects["mask"]) == 1000 and all(objects["mask"])
    assert vision_masks.opened(objects["mask"][1], objects["mask_corner"][1], HEIGHT, WIDTH).sum() == 1


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_masks_of_an_image_on_its_side_are_turned_with_it(orientation):
    pixels = np.zeros((24, 40, 3), np.uint8)
    pixels[4:12, 6:30], pixels[4:8, 6:10] = 255, 0
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "jpeg", quality=100, exif=exif)
    found = annotations.example(
        file.getvalue(), "file", "file", 0, (24, 40), [("a", (4, 6, 12, 30), False, False)], ["a"], annotations.Boxes(),
        mask_of=lambda index, height, width: pixels[..., 0] > 0)
    image = np.asarray(PIL.Image.open(found["image"]))[..., 0] > 128
    (thing,) = found["objects"]
    assert np.array_equal(vision_masks.opened(thing["mask"], thing["mask_corner"], *image.shape), image)


# Penn-Fudan

def street(tmp_path, **changes):
    """Writes a small penn-fudan/PennFudanPed.zip of 80 images and returns the folder that holds it."""
    members = {}
    for number in range(80):
        instances = np.zeros((HEIGHT, WIDTH), np.uint8)
        instances[2:12, 3:7], instances[5:15, 10:20] = 1, 2
        file = io.BytesIO()
        PIL.Image.fromarray(instances).save(file, "png")
        members[f"PedMasks/Street{number:02}_mask.png"] = file.getvalue()
        members[f"PNGImages/Street{number:02}.png"] = image_bytes(HEIGHT, WIDTH, "png", seed=number)
    (tmp_path / "manual" / "penn-fudan").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "manual" / "penn-fudan" / "PennFudanPed.zip", "w") as archive:
        for name, content in (members | changes).items():
            if content is not None:
                archive.writestr(f"PennFudanPed/{name}", content)
    return tmp_path / "manual"


def prepared_street(tmp_path, manual):
    return sources.builder("penn_fudan", training.Config(data_dir=str(tmp_path / "prepared"), manual_dir=str(manual)))


def test_penn_fudan_reads_its_zip(tmp_path):
    prepared = prepared_street(tmp_path, street(tmp_path))
    assert {split: part.num_examples for split, part in prepared.info.splits.items()} == {"train": 10, "validation": 20, "test": 50}
    seen = []
    for split in ("train", "validation", "test"):
        for example in sources.read(prepared, split).as_numpy_iterator():
            seen.append(example["image/filename"].decode())
            objects = example["objects"]
            assert np.allclose(objects["bbox"] * (HEIGHT, WIDTH, HEIGHT, WIDTH), [(2, 3, 12, 7), (5, 10, 15, 20)])
            found = [vision_masks.opened(*each, HEIGHT, WIDTH) for each in zip(objects["mask"], objects["mask_corner"])]
            assert np.array_equal(found, [rectangle(2, 3, 12, 7), rectangle(5, 10, 15, 20)])
    assert sorted(seen) == [f"Street{number:02}.png" for number in range(80)]


def png(pixels):
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize("change, sentence", [
    ({"PNGImages/Street07.png": None}, "contains PennFudanPed/PedMasks/Street07_mask.png, but no image Street07.jpg or Street07.png"),
    ({"PedMasks/Street07_mask.png": png(np.zeros((HEIGHT, WIDTH + 1), np.uint8))},
     "Street07.png has 30 x 20 pixels, but according to its annotation 31 x 20"),
    ({"PedMasks/Street07_mask.png": png(np.zeros((HEIGHT, WIDTH, 3), np.uint8))}, "must be a gray or palette PNG .* its mode is RGB"),
    ({"PedMasks/Street07_mask.png": b"no image"}, "Street07_mask.png is not an image"),
    ({"PedMasks/Street07_mask.png": png(np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint8))},
     "contains 255 pedestrians, more than the limit of 100"),
])
def test_penn_fudan_refuses_what_is_wrong_in_one_sentence(tmp_path, change, sentence):
    with pytest.raises(training.UserError, match=sentence) as error:
        prepared_street(tmp_path, street(tmp_path, **change))
    assert "\n" not in str(error.value)


def test_penn_fudan_holds_what_its_authors_published(tmp_path, repository):
    manual = pathlib.Path(os.environ.get("SUITE_DATA", repository.parent / "shared" / "data"))
    if not (manual / "penn-fudan" / "PennFudanPed.zip").is_file():
        pytest.skip(f"no penn-fudan/PennFudanPed.zip in {manual}: set SUITE_DATA to the folder that holds it")
    prepared = prepared_street(tmp_path, manual)
    counts = {split: [len(example["objects"]["label"]) for example in sources.read(prepared, split).as_numpy_iterator()]
              for split in ("train", "validation", "test")}
    assert {split: len(each) for split, each in counts.items()} == {"train": 100, "validation": 20, "test": 50}
    assert sum(map(sum, counts.values())) == 423
