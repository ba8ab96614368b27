"""Image files in formats that `training.vision.images` decodes; all others are converted to PNG.

JPEG, PNG, GIF and plain BMP are kept byte for byte. TIFF, WebP and other kinds of BMP are decoded by Pillow, turned upright by
their EXIF orientation, and written as PNG with 8 bits. Only the EXIF tag counts: an orientation in XMP is ignored, as browsers
do. Gray images with more than 8 bits keep the upper 8: of 16 bits, of 12 bits in a TIFF that says so, and of 32-bit integers
that fit into 16 bits. Floating-point values from 0 to 1 become 0 to 255. Values outside these ranges are rejected, as are
images that use less than a sixteenth of their range, because they would become nearly black.

Importing this module does not import TensorFlow.
"""
import contextlib
import io
import os
import warnings

import numpy as np
import PIL.Image

from training.config import UserError

MAX_PIXELS = 64_000_000
MAX_BYTES = 2 ** 28
"""size limit of an image file in bytes"""
ENDINGS = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
"""extensions of image files, in lower case"""

# the formats that Pillow may recognize, without those for which it starts another program
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP")
_KEPT = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ORIENTATION, _BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 0x0112, 0x0102, 0x0106, 0
_TRANSPOSES = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT, 3: PIL.Image.Transpose.ROTATE_180, 4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE, 6: PIL.Image.Transpose.ROTATE_270, 7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90}


def encoded(file, name):
    """Returns the bytes of an image file in a format that `training.vision.images.decode` reads.

    A JPEG, PNG, GIF or plain BMP is returned unchanged and unchecked: the decoder detects damage.

    file: its path, or its bytes
    name: of the image in error messages

    Raises:
        UserError: the file cannot be read or is too large, or it is of another format, damaged, or has too many pixels.
    """
    content = file if isinstance(file, bytes) else _read(file, name)
    if content.startswith(_KEPT) or _is_plain_bmp(content):
        return content
    with refusal(content, name):
        image = opened(content, name)
        return png(image, orientation(image), name)


@contextlib.contextmanager
def refusal(content, name):
    """Converts any error of Pillow about an image into a UserError with the name of the image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about Pillow's own limit of pixels; `opened` has another one
            yield
    except UserError:
        raise
    except Exception as error:  # a decoder fails on damaged bytes in more ways than it documents
        if not isinstance(error, PIL.UnidentifiedImageError):
            raise UserError(f"{name} is not an image, or is damaged: {' '.join(str(error).split())}") from None
        # its message holds an address in memory
        raise UserError(f"{name} is a damaged TIFF or has an unsupported format: save it with 8 bits per channel"
                        if content.startswith(_TIFF) else f"{name} is not an image, or is damaged") from None


def opened(content, name):
    """Returns a Pillow image after reading only its header.

    content: bytes of the file
    name:    of the image in error messages

    Raises:
        UserError: the image has too many pixels. Other errors are those of Pillow, see `refusal`.
    """
    image = PIL.Image.open(io.BytesIO(content), formats=_FORMATS)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UserError(f"{name} has {width} x {height} pixels, more than the limit of {MAX_PIXELS:,}")
    image.info.pop("xmp", None)  # Pillow would take an orientation from it
    return image


def orientation(image):
    """Returns the EXIF orientation of a TIFF or WebP image, 1 to 8; 1 for images without an orientation and for other
    formats."""
    if image.format not in ("TIFF", "WEBP"):
        return 1
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # the image may be readable although its metadata is not
        return 1
    return value if value in range(1, 9) else 1


def png(image, orientation, name):
    """Returns the upright image as the bytes of an 8-bit RGB PNG.

    image:       an image from `opened`
    orientation: EXIF orientation
    name:        of the image in error messages

    Raises:
        UserError: the image has unsupported values. Other errors are those of Pillow, see `refusal`.
    """
    image.load()
    turned = 1 if image.format == "TIFF" else orientation  # Pillow turns a TIFF while loading it
    if image.mode == "F" or image.mode.startswith("I"):
        image = PIL.Image.fromarray(_eight_bits(image, name))
    elif image.mode == "La":  # gray, multiplied by its opacity
        image = image.convert("LA")
    image = image.convert("RGB")
    if turned != 1:
        image = image.transpose(_TRANSPOSES[turned])
    file = io.BytesIO()
    image.save(file, "png", compress_level=1)
    return file.getvalue()


def _eight_bits(image, name):
    """Returns the gray values of an image with more than 8 bits, as uint8 (height, width)."""
    values, tags = np.asarray(image), getattr(image, "tag_v2", {})
    least, greatest = values.min(), values.max()
    if image.mode == "F":
        if not 0 <= least <= greatest <= 1:
            raise UserError(f"{name} has floating-point values from {least:g} to {greatest:g}, but only values from 0 to 1 "
                            "are supported: rescale them, or save the image with 8 bits")
        levels = np.round(values * 255)
    else:
        bits = 12 if tags.get(_BITS) == (12,) else 16
        if least < 0 or greatest >= 2 ** bits:
            raise UserError(f"{name} has values from {least:,} to {greatest:,}, but only values from 0 to {2 ** bits - 1:,} "
                            "are supported: rescale them, or save the image with 8 bits")
        if 0 < greatest < 2 ** (bits - 4):
            raise UserError(f"{name} has values from {least:,} to {greatest:,} of {2 ** bits:,} and would become nearly black: "
                            "rescale them to the full range, or save the image with 8 bits")
        levels = values >> (bits - 8)
    levels = levels.astype(np.uint8)
    return 255 - levels if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else levels


def _is_plain_bmp(content):
    """Tells whether the graph decodes a BMP: it reads 8, 24 and 32 bits without compression."""
    header, bits, compression = (int.from_bytes(content[first:last], "little") for first, last in ((14, 18), (28, 30), (30, 34)))
    return content.startswith(b"BM") and header >= 40 and (
        compression == 0 and bits in (8, 24, 32) or compression == 3 and bits == 32)


def _read(path, name):
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{name} is a folder: give the images in it" if os.path.isdir(path)
                        else f"{name} cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise UserError(f"{name} is larger than {MAX_BYTES:,} bytes")
    return content
