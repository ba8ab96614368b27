"""Images from the bytes of a file, in the graph: the same decoding and fitting for training data and serving.

Everything here consists of TensorFlow operations, so an export includes it and accepts raw bytes. XLA cannot compile decoding.
JPEG, PNG, GIF (its first frame) and BMP are read; gray, palette, 16-bit and CMYK images become RGB, transparency is dropped
(the colors below it are kept), and a JPEG's EXIF orientation is applied.
"""
import tensorflow as tf

from training.vision.files import MAX_PIXELS

KINDS = ("JPEG", "PNG", "GIF", "BMP")
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM")
# A GIF is walked in runs of blocks of one length, which most are, so that this is far more than any real file has;
# a hostile one costs a second or two.
_MAX_GIF_RUNS = 3000
_GIF_RUN_BLOCKS = 256
_MAX_JPEG_SEGMENTS = 1000
_MAX_EXIF_ENTRIES = 1000


def decode(image_bytes, max_pixels=MAX_PIXELS):
    """Decodes the bytes of an image file and returns the upright image.

    Shape:
        image_bytes: () string
        returns:     (height, width, 3) uint8, RGB

    Raises:
        InvalidArgumentError: the format is unknown, the header states more than `max_pixels`, or the file is damaged or
                              truncated.
    """
    image_bytes = tf.convert_to_tensor(image_bytes)
    kind = _kind(image_bytes)
    is_image = tf.debugging.Assert(kind < len(KINDS), ["this is not a JPEG, PNG, GIF or BMP image"])
    with tf.control_dependencies([is_image]):
        size = header_size(image_bytes)
    fits = tf.debugging.Assert(_fits(size, max_pixels), ["the image (height, width) has more pixels than the limit",
                                                         size, max_pixels])
    with tf.control_dependencies([fits]):
        return _decode(tf.identity(image_bytes), kind)


def decode_or_error(image_bytes, max_pixels=MAX_PIXELS):
    """Returns (image, error): a file that cannot be decoded gives one black pixel and an error message, without raising an
    error.

    Shape:
        image_bytes: () string
        image:       (height, width, 3) uint8, RGB
        error:       () string, empty without an error
    """
    image_bytes = tf.convert_to_tensor(image_bytes)
    kind = _kind(image_bytes)
    black = tf.zeros((1, 1, 3), tf.uint8)

    def attempt(image_bytes):
        size = header_size(image_bytes)
        is_wanted = (kind < len(KINDS)) & _fits(size, max_pixels)
        image = tf.cond(is_wanted, lambda: _decode(image_bytes, kind), lambda: black)
        return tf.ensure_shape(image, (None, None, 3)), size, True

    # a one-element pipeline is the only place of a graph where an operation may fail and the rest go on
    nothing = tf.data.Dataset.from_tensors((black, tf.zeros(2, tf.int64), False))
    attempts = tf.data.Dataset.from_tensors(image_bytes).map(attempt).ignore_errors().concatenate(nothing).take(1)
    image, size, succeeded = attempts.with_options(_plain_options()).get_single_element()
    too_large = tf.strings.join([
        "the image has ", tf.strings.as_string(size[1]), " x ", tf.strings.as_string(size[0]),
        " pixels, more than the limit of ", tf.strings.as_string(tf.constant(max_pixels, tf.int64))])
    damaged = tf.strings.join([
        "the ", tf.gather(tf.constant(KINDS + ("",)), kind), " decoder rejects this file: it is damaged or truncated"])
    error = tf.where(kind == len(KINDS), "this is not a JPEG, PNG, GIF or BMP image",
                     tf.where(succeeded, tf.where(_fits(size, max_pixels), "", too_large), damaged))
    return tf.ensure_shape(image, (None, None, 3)), error


def header_size(image_bytes):
    """Returns (height, width) from the header of a file, before the EXIF orientation, without decoding it.

    Shape:
        image_bytes: () string
        returns:     (2,) int64; zeros if the header cannot be read

    Raises:
        InvalidArgumentError: a JPEG without a readable header.
    """
    image_bytes = tf.convert_to_tensor(image_bytes)
    size = tf.switch_case(_kind(image_bytes), [
        lambda: tf.io.extract_jpeg_shape(image_bytes, tf.int64)[:2],  # by the decoder's own library
        lambda: tf.stack([_big(image_bytes, 20, 4), _big(image_bytes, 16, 4)]),
        lambda: _gif_canvas(image_bytes, _gif_first_frame(image_bytes)[0])[:2],
        lambda: tf.stack([tf.abs(_signed(_little(image_bytes, 22, 4))), tf.abs(_signed(_little(image_bytes, 18, 4)))]),
        lambda: tf.zeros(2, tf.int64),
    ])
    return tf.ensure_shape(size, (2,))


def exif_orientation(image_bytes):
    """Returns the EXIF orientation of a JPEG, 1 to 8; 1 if it is missing or invalid.

    Shape:
        image_bytes: () string
        returns:     () int64

    Source: JEITA CP-3451, "Exchangeable image file format", sections 4.5 and 4.6; tag 0x0112.
    """
    image_bytes = tf.convert_to_tensor(image_bytes)

    def is_exif(position):
        return tf.reduce_all(_bytes(image_bytes, position + 1, 1) == 0xE1) & (
            _slice(image_bytes, position + 4, 6) == b"Exif\0\0")

    def goes_on(position, _):
        mark = _bytes(image_bytes, position, 2)
        # entropy-coded data begins after the start of scan (0xDA): no segment to skip by its length
        return (mark[0] == 0xFF) & (mark[1] != 0xDA) & (mark[1] != 0xD9) & ~is_exif(position)

    def next_segment(position, count):
        is_fill = _bytes(image_bytes, position + 1, 1)[0] == 0xFF
        return position + tf.where(is_fill, tf.constant(1, tf.int64), 2 + _big(image_bytes, position + 2, 2)), count + 1

    position, _ = tf.while_loop(goes_on, next_segment, (tf.constant(2, tf.int64), tf.constant(0)),
                                maximum_iterations=_MAX_JPEG_SEGMENTS)
    return tf.cond(is_exif(position), lambda: _tiff_orientation(image_bytes, position + 10),
                   lambda: tf.constant(1, tf.int64))


def fit_square(image, size):
    """Returns (image fitted into a square, scale): the aspect ratio is kept, the image is at the top left, and the rest is
    black.

    A position in the square divided by `scale` is the position in the image. An image of this size is unchanged.

    Shape:
        image:   (height, width, 3) uint8 or float
        returns: (size, size, 3) float32, values as in `image`; () float32 = resized / original
    """
    height, width = tf.unstack(tf.shape(image)[:2])
    longest = tf.maximum(height, width)
    scale = tf.cast(size / longest, tf.float32)
    fitted = tf.cond(longest == size, lambda: tf.cast(image, tf.float32), lambda: _resize(image, size, longest))
    missing = size - tf.shape(fitted)[:2]
    fitted = tf.pad(fitted, [[0, missing[0]], [0, missing[1]], [0, 0]])
    return tf.ensure_shape(fitted, (size, size, 3)), scale


def _decode(image_bytes, kind):
    # the decoders' default settings are those of TFDS, which decodes the training data
    image = tf.switch_case(kind, [
        lambda: _upright(tf.io.decode_jpeg(image_bytes, channels=3), exif_orientation(image_bytes)),
        lambda: tf.io.decode_png(image_bytes, channels=3),
        lambda: _decode_gif(image_bytes),
        lambda: _decode_bmp(image_bytes),
    ])
    return tf.ensure_shape(image, (None, None, 3))


def _resize(image, size, longest):
    sides = tf.cast(tf.round(tf.shape(image)[:2] * size / longest), tf.int32)
    # a filter as wide as the step only matters when shrinking: enlarging is plain bilinear
    return tf.image.resize(image, tf.maximum(sides, 1), method="bilinear", antialias=True)


def _plain_options():
    """One element needs neither tuning nor a pool of its own."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return options


def _fits(size, max_pixels):
    return tf.reduce_prod(size) <= max_pixels


def _kind(image_bytes):
    """Returns the index into KINDS, or their number, as the decoders themselves tell files apart."""
    kinds = [tf.strings.substr(image_bytes, 0, len(magic)) == magic for magic in _MAGIC]
    return tf.argmax(tf.stack([*kinds, True]), output_type=tf.int32)


def _slice(image_bytes, position, count):
    """Returns up to `count` bytes as a string, fewer or none past the end."""
    length = tf.cast(tf.strings.length(image_bytes), tf.int64)
    return tf.strings.substr(image_bytes, tf.minimum(tf.cast(position, tf.int64), length), tf.cast(count, tf.int64))


def _bytes(image_bytes, position, count):
    """Returns `count` bytes as int64, zeros past the end."""
    part = tf.io.decode_raw(_slice(image_bytes, position, count), tf.uint8, fixed_length=count)
    return tf.cast(part, tf.int64)


def _big(image_bytes, position, count):
    return tf.reduce_sum(_bytes(image_bytes, position, count) * [256 ** i for i in reversed(range(count))])


def _little(image_bytes, position, count):
    return tf.reduce_sum(_bytes(image_bytes, position, count) * [256 ** i for i in range(count)])


def _signed(value):
    return tf.where(value < 2 ** 31, value, value - 2 ** 32)


def _tiff_orientation(image_bytes, start):
    """Reads tag 0x0112 from the first directory of the TIFF header at `start`."""
    is_little = _slice(image_bytes, start, 4) == b"II*\0"
    is_big = _slice(image_bytes, start, 4) == b"MM\0*"

    def number(position, count):
        return tf.where(is_little, _little(image_bytes, position, count), _big(image_bytes, position, count))

    directory = start + number(start + 4, 4)
    entries = tf.minimum(number(directory, 2), _MAX_EXIF_ENTRIES)
    table = tf.reshape(_bytes(image_bytes, directory + 2, 12 * _MAX_EXIF_ENTRIES), (-1, 12))[:entries]
    pairs = tf.where(is_little, table[:, 0::2] + 256 * table[:, 1::2], 256 * table[:, 0::2] + table[:, 1::2])
    # (entries, 6): tag, type, count (two halves), value (first half: a SHORT is left-justified), rest
    values = tf.boolean_mask(pairs[:, 4], (pairs[:, 0] == 0x0112) & (pairs[:, 1] == 3))
    value = tf.concat([values, [1]], 0)[0]
    return tf.where((is_little | is_big) & (value >= 1) & (value <= 8), value, tf.constant(1, tf.int64))


def _upright(image, orientation):
    """Undoes an EXIF orientation: 5 to 8 lie on their side, 2, 3, 6, 7 are mirrored in x, 3, 4, 7, 8 in y."""
    def undo():
        turned = tf.cond(orientation >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
        mirrored = [tf.reduce_any(orientation == ids) for ids in ([3, 4, 7, 8], [2, 3, 6, 7])]
        for axis, is_mirrored in enumerate(mirrored):
            turned = tf.cond(is_mirrored, lambda turned=turned, axis=axis: tf.reverse(turned, [axis]),
                             lambda turned=turned: turned)
        return turned

    return tf.cond(orientation == 1, lambda: image, undo)


def _gif_skip_blocks(image_bytes, position, count):
    """Returns (the position after the block terminator, the runs walked so far), from a first data block."""
    def goes_on(position, count, is_open):
        return is_open & (count < _MAX_GIF_RUNS)

    def next_run(position, count, _):
        window = tf.io.decode_raw(_slice(image_bytes, position, 256 * _GIF_RUN_BLOCKS), tf.uint8,
                                  fixed_length=256 * _GIF_RUN_BLOCKS)
        length = tf.cast(window[0], tf.int64)
        is_same = window[::length + 1][:_GIF_RUN_BLOCKS] == window[0]
        run = tf.argmin(tf.concat([is_same, [False]], 0))
        return position + tf.where(length > 0, run * (length + 1), 1), count + 1, length > 0

    position, count, is_open = tf.while_loop(goes_on, next_run, (position, count, tf.constant(True)))
    return tf.where(is_open, tf.constant(2 ** 40, tf.int64), position), count


def _gif_first_frame(image_bytes):
    """Returns (the position of the first image descriptor, the runs walked to get there)."""
    flags = _bytes(image_bytes, 10, 1)[0]
    position = 13 + _gif_palette_bytes(flags)

    def is_extension(position, count):
        return (_bytes(image_bytes, position, 1)[0] == 0x21) & (count < _MAX_GIF_RUNS)

    def skip(position, count):
        return _gif_skip_blocks(image_bytes, position + 2, count + 1)

    return tf.while_loop(is_extension, skip, (position, tf.constant(0)))


def _gif_palette_bytes(flags):
    return tf.where(flags >= 128, 3 * tf.bitwise.left_shift(tf.constant(2, tf.int64), flags % 8),
                    tf.constant(0, tf.int64))


def _gif_canvas(image_bytes, position):
    """Returns int64 (height, width, top, left): the canvas and where the frame lies on it; zeros without a frame."""
    left, top, width, height = [_little(image_bytes, position + 1 + 2 * i, 2) for i in range(4)]
    screen_width, screen_height = [_little(image_bytes, 6 + 2 * i, 2) for i in range(2)]
    canvas = tf.stack([tf.maximum(screen_height, top + height), tf.maximum(screen_width, left + width), top, left])
    return tf.where(_bytes(image_bytes, position, 1)[0] == 0x2C, canvas, tf.zeros(4, tf.int64))


def _decode_gif(image_bytes):
    """Decodes the first frame only: the decoder would unpack every frame of an animation before it gave the first."""
    position, count = _gif_first_frame(image_bytes)
    height, width, top, left = tf.unstack(_gif_canvas(image_bytes, position))
    data = position + 11 + _gif_palette_bytes(_bytes(image_bytes, position + 9, 1)[0])
    end, _ = _gif_skip_blocks(image_bytes, data, count)
    is_whole = tf.debugging.Assert((height > 0) & (end <= tf.cast(tf.strings.length(image_bytes), tf.int64)),
                                   ["the GIF is damaged or truncated"])
    with tf.control_dependencies([is_whole]):
        # the decoder's canvas is the frame itself, so the frame's offset is taken out and given back by padding
        alone = tf.strings.join([_slice(image_bytes, 0, position + 1), b"\0\0\0\0",
                                 _slice(image_bytes, position + 5, end - position - 5), b"\x3b"])
    frame = tf.io.decode_image(alone, channels=3, expand_animations=False)
    frame = tf.ensure_shape(frame, (None, None, 3))
    sides = tf.shape(frame, out_type=tf.int64)
    return tf.pad(frame, [[top, height - top - sides[0]], [left, width - left - sides[1]], [0, 0]])


def _decode_bmp(image_bytes):
    header, bits, compression = [_little(image_bytes, *place) for place in ((14, 4), (28, 2), (30, 4))]
    # the decoder takes packed bits for pixels: 0 is plain, 3 is 32 bits with the usual masks
    is_plain = tf.debugging.Assert((header >= 40) & ((compression == 0) | ((compression == 3) & (bits == 32))),
                                   ["compressed BMP files are not supported"])
    with tf.control_dependencies([is_plain]):
        image = tf.ensure_shape(tf.io.decode_bmp(image_bytes, channels=0), (None, None, None))

    def colored():
        # the decoder gives indices and forgets the palette of blue, green, red, unused
        palette = tf.reshape(_bytes(image_bytes, 14 + header, 4 * 256), (256, 4))
        return tf.gather(tf.cast(palette[:, 2::-1], tf.uint8), tf.cast(image[:, :, 0], tf.int32))

    return tf.cond(bits == 8, colored, lambda: image[:, :, :3])
