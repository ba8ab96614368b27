"""Decoding in the graph against Pillow, and what must not come through."""
import io
import itertools
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from training.vision import images

# one graph for all tests, as an export has it
_or_error = tf.function(images.decode_or_error, input_signature=[tf.TensorSpec((), tf.string)])
_decode = tf.function(images.decode, input_signature=[tf.TensorSpec((), tf.string)])


def picture(height=40, width=56, seed=0):
    """Returns smooth colors, so that JPEG keeps them, without any symmetry."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (height // 8, width // 8, 3), np.uint8))
    return small.resize((width, height), Image.BICUBIC)


def encode(image, format, **options):
    if format == "JPEG":  # color in full resolution: decoders differ in how they enlarge it
        options = {"quality": 95, "subsampling": 0} | options
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def decode(image_bytes):
    image, error = _or_error(image_bytes)
    assert error.numpy() == b""
    return image.numpy()


# Cases of one kind share one test: the fixture that seeds every test makes TensorFlow prepare its graphs again.

def test_formats_equal_pillow():
    for format, mode, tolerance in [
            ("PNG", "RGB", 0), ("PNG", "RGBA", 0), ("PNG", "LA", 0), ("PNG", "L", 0), ("PNG", "P", 0), ("PNG", "1", 0),
            ("BMP", "RGB", 0), ("BMP", "RGBA", 0), ("BMP", "P", 0), ("BMP", "L", 0), ("GIF", "RGB", 0), ("GIF", "L", 0),
            # TensorFlow takes the fast cosine transform, as TFDS does, Pillow the accurate one
            ("JPEG", "RGB", 10), ("JPEG", "L", 10), ("JPEG", "CMYK", 20)]:
        image_bytes = encode(picture().convert(mode), format)
        expected = np.asarray(Image.open(io.BytesIO(image_bytes)).convert("RGB")).astype(int)
        decoded = decode(image_bytes)
        assert decoded.dtype == np.uint8
        assert np.abs(decoded - expected).max() <= tolerance, (format, mode)
        np.testing.assert_array_equal(decoded, _decode(image_bytes))
        assert list(images.header_size(image_bytes).numpy()) == [40, 56]


def test_sixteen_bit_png_keeps_the_high_byte():
    values = np.arange(40 * 56).reshape(40, 56).astype(np.uint16) * 29
    decoded = decode(encode(Image.fromarray(values), "PNG"))
    assert np.abs(decoded.astype(float) - values[..., None] / 257).max() <= 1


def test_progressive_jpeg():
    image_bytes = encode(picture(), "JPEG", progressive=True)
    assert np.abs(decode(image_bytes).astype(int) - np.asarray(Image.open(io.BytesIO(image_bytes)))).max() <= 10


def test_exif_orientation():
    plain = encode(picture(), "JPEG")
    for little, orientation in itertools.product([True, False], range(1, 9)):
        # the tag must be looked for: in a directory of three, behind a segment that is not EXIF
        order = "<" if little else ">"
        entries = [(0x0100, 4, 1, struct.pack(order + "I", 56)),
                   (0x0112, 3, 1, struct.pack(order + "HH", orientation, 0)),
                   (0x0128, 3, 1, struct.pack(order + "HH", 2, 0))]
        tiff = (b"II*\0" if little else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
        tiff += b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in entries) + bytes(4)
        image_bytes = plain[:2] + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>") + \
            segment(0xE1, b"Exif\0\0" + tiff) + plain[2:]
        assert Image.open(io.BytesIO(image_bytes)).getexif()[0x0112] == orientation
        assert images.exif_orientation(image_bytes).numpy() == orientation
        lying = Image.fromarray(decode(plain))
        lying.getexif()[0x0112] = orientation
        np.testing.assert_array_equal(decode(image_bytes), np.asarray(ImageOps.exif_transpose(lying)))


def test_pillows_own_exif_block():
    exif = Image.Exif()
    exif[0x0112] = 6
    image_bytes = encode(picture(), "JPEG", exif=exif.tobytes())
    assert decode(image_bytes).shape == (56, 40, 3)


def segment(marker, payload):
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def test_broken_exif_is_no_orientation():
    plain = encode(picture(), "JPEG")
    for payload in [
            b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0XX*\0\x08\0\0\0\x01\0", b"Exif\0\0II*\0\xff\xff\xff\xff",
            b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(100),
            b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0"]:
        image_bytes = plain[:2] + segment(0xE1, payload) + plain[2:]
        assert images.exif_orientation(image_bytes).numpy() == 1
        np.testing.assert_array_equal(decode(image_bytes), decode(plain))


def test_first_frame_of_an_animation_only():
    frames = [picture(seed=seed).convert("P") for seed in range(3)]
    image_bytes = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert Image.open(io.BytesIO(image_bytes)).n_frames == 3
    np.testing.assert_array_equal(decode(image_bytes), np.asarray(frames[0].convert("RGB")))


def test_gif_of_many_blocks():
    noise = np.random.default_rng(0).integers(0, 256, (500, 400), np.uint8)
    image_bytes = encode(Image.fromarray(noise), "GIF")
    assert len(image_bytes) > 3 * 256 * 256  # further than one look ahead
    short = bytes([7]) + b"comment" + bytes([3]) + b"odd" + bytes([1]) + b"1" + bytes([1]) + b"2\0"
    place = 13 + 3 * 256
    for image_bytes in (image_bytes, image_bytes[:place] + b"\x21\xfe" + short + image_bytes[place:]):
        np.testing.assert_array_equal(decode(image_bytes)[..., 0], noise)


def test_a_gif_that_only_keeps_us_busy_is_refused():
    plain = gif(20, 12, 3, 4, 10, 5)
    place = plain.index(b"\x2c")
    image_bytes = plain[:place] + b"\x21\xfe" + b"\x01x\x02xx" * 100_000 + b"\0" + plain[place:]
    assert b"GIF decoder" in _or_error(image_bytes)[1].numpy()


def test_later_frames_are_not_unpacked():
    """2,000 frames of 16 million pixels in 25 MB: the decoder would unpack 32 gigabytes before it gave the first."""
    one = encode(Image.new("P", (4000, 4000)), "GIF")
    frame = one[one.index(b"\x2c" + bytes(4) + struct.pack("<HH", 4000, 4000)):-1]
    image_bytes = one[:-1] + frame * 2000 + b";"
    assert len(image_bytes) < 50e6
    image, error = _or_error(image_bytes)
    assert error.numpy() == b""
    assert image.shape == (4000, 4000, 3)


def gif(screen_width, screen_height, left, top, width, height):
    """Returns a GIF of one frame in the second of two colors, (10, 200, 30); codes of 3 bits, never compressed."""
    head = b"GIF89a" + struct.pack("<HHBBB", screen_width, screen_height, 0x80, 0, 0) + bytes(3) + bytes([10, 200, 30])
    comment = b"\x21\xfe\x05hello\x00"
    descriptor = b"\x2c" + struct.pack("<HHHHB", left, top, width, height, 0)
    bits = []
    for index in range(width * height):
        if index % 2 == 0:
            bits += [0, 0, 1]  # clear, 4: the table never grows past 3 bits
        bits += [1, 0, 0]  # color 1
    bits += [1, 0, 1]  # end, 5
    data = np.packbits(np.array(bits, np.uint8), bitorder="little").tobytes()
    blocks = b"".join(bytes([len(data[i:i + 255])]) + data[i:i + 255] for i in range(0, len(data), 255))
    return head + comment + descriptor + b"\x02" + blocks + b"\x00;"


def test_gif_frame_smaller_than_its_screen():
    image_bytes = gif(20, 12, 3, 4, 10, 5)
    expected = np.asarray(Image.open(io.BytesIO(image_bytes)).convert("RGB"))
    decoded = decode(image_bytes)
    assert decoded.shape == (12, 20, 3)
    assert list(images.header_size(image_bytes).numpy()) == [12, 20]
    np.testing.assert_array_equal(decoded[4:9, 3:13], np.broadcast_to([10, 200, 30], (5, 10, 3)))
    np.testing.assert_array_equal(decoded, expected)


def _cut(image_bytes, share):
    return image_bytes[:int(len(image_bytes) * share)]


def test_corrupt_files_say_so():
    for image_bytes, words in [
            (b"", "not a JPEG"), (b"not an image", "not a JPEG"), (b"RIFF1234WEBPVP8 ", "not a JPEG"),
            (b"\xff\xd8\xff", "JPEG decoder"), (_cut(encode(picture(), "JPEG"), 0.5), "JPEG decoder"),
            (_cut(encode(picture(), "PNG"), 0.5), "PNG decoder"), (b"\x89PNG\r\n\x1a\n", "PNG decoder"),
            (_cut(encode(picture(), "GIF"), 0.5), "GIF decoder"), (b"GIF89a", "GIF decoder"),
            (_cut(encode(picture(), "BMP"), 0.5), "BMP decoder"), (b"BM", "BMP decoder")]:
        image, error = _or_error(image_bytes)
        assert words in error.numpy().decode()
        np.testing.assert_array_equal(image, np.zeros((1, 1, 3), np.uint8))
        with pytest.raises(tf.errors.InvalidArgumentError):
            _decode(image_bytes)


def png_of(width, height):
    """Returns a PNG that says it has so many pixels, with next to no data behind."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(999))) + chunk(b"IEND", b"")


def jpeg_of(width, height):
    plain = encode(picture(), "JPEG")
    place = plain.index(b"\xff\xc0") + 5
    return plain[:place] + struct.pack(">HH", height, width) + plain[place + 4:]


def test_pixels_are_counted_before_decoding():
    for image_bytes in [
            png_of(30000, 20000), jpeg_of(30000, 20000), gif(30000, 20000, 0, 0, 4, 4),
            gif(10, 10, 29990, 19990, 10, 10), b"BM" + bytes(12) + struct.pack("<Iii", 40, 30000, -20000) + bytes(28)]:
        image, error = _or_error(image_bytes)
        assert error.numpy() == b"the image has 30000 x 20000 pixels, more than the limit of 64000000"
        assert image.shape == (1, 1, 3)
        with pytest.raises(tf.errors.InvalidArgumentError, match="limit"):
            _decode(image_bytes)


def test_limit_is_a_parameter():
    image_bytes = encode(picture(), "PNG")
    assert images.decode_or_error(image_bytes, max_pixels=40 * 56)[1].numpy() == b""
    assert b"limit of 2239" in images.decode_or_error(image_bytes, max_pixels=40 * 56 - 1)[1].numpy()


@pytest.mark.parametrize("height,width,expected", [
    (64, 32, (16, 8)), (8, 24, (5, 16)), (16, 5, (16, 5)), (1, 400, (1, 16))])
def test_fit_square(height, width, expected):
    image = np.random.default_rng(0).integers(1, 256, (height, width, 3), np.uint8)
    fitted, scale = images.fit_square(image, 16)
    assert fitted.shape == (16, 16, 3) and fitted.dtype == tf.float32
    assert scale.numpy() == pytest.approx(16 / max(height, width))
    assert (fitted[:expected[0], :expected[1]].numpy() > 0).all()
    assert (fitted[expected[0]:].numpy() == 0).all() and (fitted[:, expected[1]:].numpy() == 0).all()
    reference = image if (height, width) == expected else \
        np.asarray(Image.fromarray(image).resize(expected[::-1], Image.BILINEAR))
    # Pillow rounds to whole numbers after each of its two passes
    assert np.abs(fitted[:expected[0], :expected[1]].numpy() - reference).max() <= 1.01


def test_fit_square_leaves_a_fitting_image_as_it_is():
    image = np.random.default_rng(1).integers(0, 256, (16, 16, 3), np.uint8)
    fitted, scale = images.fit_square(image, 16)
    np.testing.assert_array_equal(fitted, image)
    assert scale.numpy() == 1
