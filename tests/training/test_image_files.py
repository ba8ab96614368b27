"""What becomes of image files before the graph decodes them: kept, turned into PNG, or refused with the file's name."""
import io
import struct
import subprocess
import sys

import numpy as np
import PIL.Image
import PIL.TiffImagePlugin
import pytest

import training
from tests.training.small_images import image_bytes
from training.datasets import annotations
from training.vision import files, images

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def tiff(values, **tags):
    """Returns a gray TIFF of numpy values, with tags by number."""
    written = PIL.TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        written[int(tag[1:])] = value
    return saved(PIL.Image.fromarray(values), "tiff", tiffinfo=written)


def raw_tiff(content, width, height, bits, photometric=1, order="<"):
    """Returns an uncompressed gray TIFF around the bytes of its pixels, as other programs than Pillow write it."""
    entries = [(256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 8), (277, 3, 1),
               (278, 3, height), (279, 4, len(content))]
    pairs = b"".join(struct.pack(order + "HHI", tag, kind, 1) + (
        struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value)) for tag, kind, value in entries)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(order + "H", len(entries)) + pairs + bytes(4)
    return mark + struct.pack(order + "I", 8 + len(content)) + content + directory


def shown(content):
    """Returns the gray values that training and serving see."""
    found = [images.decode(files.encoded(content, "name")).numpy(),
             images.decode(annotations.Picture(content, "name").file.read()).numpy()]
    assert np.array_equal(*found) and (found[0] == found[0][..., :1]).all()
    return found[0][..., 0]


def test_what_the_graph_decodes_is_kept_byte_for_byte(tmp_path):
    for kind in ("jpeg", "png", "gif", "bmp"):
        content = image_bytes(20, 30, kind)
        assert files.encoded(content, "name") is content
        (tmp_path / kind).write_bytes(content)
        assert files.encoded(tmp_path / kind, "name") == content


@pytest.mark.parametrize("kind", ["tiff", "webp"])
def test_other_formats_become_what_training_sees(kind):
    content = image_bytes(20, 30, kind)
    served = images.decode(files.encoded(content, "name")).numpy()
    assert np.array_equal(served, images.decode(annotations.Picture(content, "name").file.read()))
    assert np.array_equal(served, np.asarray(PIL.Image.open(io.BytesIO(content)).convert("RGB")))


def test_transparent_gifs_are_the_same_in_training_and_serving():
    pixels = PIL.Image.fromarray(np.linspace(0, 255, 12 * 17 * 3).astype(np.uint8).reshape(12, 17, 3)).quantize(8)
    content = saved(pixels, "gif", transparency=2)
    assert np.array_equal(images.decode(annotations.Picture(content, "name").file.read()), images.decode(content))


def test_kinds_of_bmp_that_the_graph_does_not_decode():
    pixels = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 2, (8, 24), np.uint8) * 255)
    content = saved(pixels.convert("1"), "bmp")
    assert files.encoded(content, "name") != content
    assert np.array_equal(shown(content), pixels)


def test_sixteen_bits_keep_the_upper_byte():
    values = np.linspace(0, 65535, 48).astype(np.uint16).reshape(6, 8)
    upper = (values >> 8).astype(np.uint8)
    assert np.array_equal(shown(tiff(values)), upper)
    assert np.array_equal(shown(raw_tiff(values.astype("<u2").tobytes(), 8, 6, 16)), upper)
    assert np.array_equal(shown(raw_tiff(values.astype(">u2").tobytes(), 8, 6, 16, order=">")), upper)
    assert np.array_equal(shown(raw_tiff(values.astype("<u2").tobytes(), 8, 6, 16, photometric=0)), 255 - upper)
    assert np.array_equal(shown(tiff(values.astype(np.int32))), upper)
    assert np.array_equal(shown(tiff(values, _274=6)), np.rot90(upper, -1))
    assert np.array_equal(images.decode(saved(PIL.Image.fromarray(values), "png"))[..., 0], upper)  # as PNG is read


def test_twelve_bits_keep_the_upper_eight():
    values = np.linspace(0, 4095, 48).astype(np.uint16).reshape(6, 8)
    first, second = values.reshape(-1, 2).T
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1).astype(np.uint8)
    assert np.array_equal(shown(raw_tiff(packed.tobytes(), 8, 6, 12)), values >> 4)


def test_floats_from_zero_to_one_are_scaled():
    values = np.linspace(0, 1, 48).astype(np.float32).reshape(6, 8)
    assert np.array_equal(shown(tiff(values)), np.round(values * 255))


@pytest.mark.parametrize("values, words", [
    (np.full((4, 4), 300, np.float32), "floating-point values from 300 to 300, but only values from 0 to 1"),
    (np.full((4, 4), np.nan, np.float32), "floating-point values from nan to nan"),
    (np.full((4, 4), -1, np.int32), "values from -1 to -1, but only values from 0 to 65,535"),
    (np.full((4, 4), 70_000, np.int32), "values from 70,000 to 70,000, but only"),
    (np.full((4, 4), 4095, np.uint16), "values from 4,095 to 4,095 of 65,536 and would become nearly black"),
])
def test_values_that_cannot_be_read_right_are_refused(values, words):
    for read in (files.encoded, annotations.Picture):
        with pytest.raises(training.UserError, match=f"cells/a.tif has {words}"):
            read(tiff(values), "cells/a.tif")


@pytest.mark.parametrize("content, words", [
    (b"", "is not an image, or is damaged"), (b"no image", "is not an image, or is damaged"),
    (image_bytes(20, 30, "webp")[:100], "is not an image, or is damaged"),
    (tiff(np.zeros((20, 30), np.uint8))[:200], "a.tif is "),
    (raw_tiff(bytes(200), 5, 5, 64), "is a damaged TIFF or has an unsupported format: save it with 8 bits per channel"),
    (saved(PIL.Image.new("1", (10_000, 8_000)), "tiff", compression="group4"), "10000 x 8000 pixels, more than the limit"),
])
def test_what_is_no_image_is_refused_in_one_sentence(content, words):
    with pytest.raises(training.UserError, match=words) as error:
        files.encoded(content, "a.tif")
    assert "\n" not in str(error.value) and "0x" not in str(error.value)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(training.UserError, match="here/a.png cannot be read: No such file"):
        files.encoded(tmp_path / "a.png", "here/a.png")
    with pytest.raises(training.UserError, match="here is a folder: give the images in it"):
        files.encoded(tmp_path, "here")


def test_only_the_exif_tag_turns_an_image():
    for kind in ("jpeg", "webp", "tiff"):
        pixels = PIL.Image.open(io.BytesIO(image_bytes(24, 40, "png")))
        options = {"tiffinfo": {700: XMP}} if kind == "tiff" else {"xmp": XMP}
        content = saved(pixels, kind, **options)
        assert XMP in content
        picture = annotations.Picture(content, "name")
        assert (picture.height, picture.width, picture.is_turned) == (24, 40, False)
        assert images.decode(picture.file.read()).shape == images.decode(files.encoded(content, "name")).shape == (24, 40, 3)


@pytest.mark.parametrize("kind", ["tiff", "webp"])
def test_exif_turns_other_formats_too(kind):
    content = image_bytes(24, 40, kind, orientation=6)
    picture = annotations.Picture(content, "name")
    assert (picture.height, picture.width, picture.is_turned) == (40, 24, True)
    expected = np.rot90(np.asarray(PIL.Image.open(io.BytesIO(image_bytes(24, 40, kind))).convert("RGB")), -1)
    for served in (picture.file.read(), files.encoded(content, "name")):
        assert np.array_equal(images.decode(served), expected)


def test_an_orientation_that_serving_does_not_take_is_not_taken_in_training():
    content = image_bytes(24, 40, "jpeg", orientation=6)
    place = content.index(b"\x01\x12\x00\x03") if b"\x01\x12\x00\x03" in content else content.index(b"\x12\x01\x03\x00")
    order = ">" if content[place:place + 1] == b"\x01" else "<"
    as_long = struct.pack(order + "HHII", 0x0112, 4, 1, 6)  # the tag must be a short
    content = content[:place] + as_long + content[place + 12:]
    picture = annotations.Picture(content, "name")
    assert images.decode(content).shape == images.decode(picture.file.read()).shape == (24, 40, 3)


@pytest.mark.parametrize("size", [(7, 7), (1, 1), (200, 7), (1, 300)])
def test_narrow_jpegs_are_read(size):
    picture = annotations.Picture(image_bytes(*size, "jpeg"), "name")
    assert (picture.height, picture.width) == size and images.decode(picture.file.read()).shape == (*size, 3)


def damaged():
    """Yields files that some decoders bear."""
    png, jpeg = image_bytes(20, 30, "png"), image_bytes(200, 300, "jpeg")
    place = png.index(b"IDAT") + 4
    end = place + struct.unpack(">I", png[place - 8:place - 4])[0]
    yield png[:end] + bytes(4) + png[end + 4:]  # a wrong checksum of the pixels
    yield png[:-12]  # without its end
    yield png[:-20]
    yield jpeg[:-1000]


@pytest.mark.parametrize("content", list(damaged()), ids=range(4))
def test_damage_is_found_where_the_decoder_of_serving_finds_it(content):
    with pytest.raises(training.UserError, match="cat/00.png is not an image, or is damaged"):
        annotations.Picture(content, "cat/00.png")


def test_reading_image_files_needs_no_tensorflow(repository):
    code = "import sys, training.vision.files, training.text.files; assert not {'tensorflow', 'keras'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=repository, check=True)
