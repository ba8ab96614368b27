"""Real handwritten digits on crops of real photographs: detection, segmentation and captions without a download."""
import concurrent.futures
import io
import zlib

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds

COLORS = {
    "white": (245, 245, 245), "black": (12, 12, 12), "red": (215, 25, 30), "orange": (255, 135, 0),
    "yellow": (250, 225, 30), "green": (20, 150, 45), "blue": (30, 70, 220), "pink": (255, 115, 190),
}
SIZES = ("small", "medium", "large")
PLACES = ("top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom", "bottom right")
SIDE = 128
"""side length of a scene in pixels"""
MOST_OBJECTS = 6
MOST_COVERED = 0.4
"""largest fraction of a digit's ink that later digits may cover"""
EXAMPLES = {"train": 2000, "validation": 300, "test": 500}

_INK = 0.5  # a pixel of at least this opacity belongs to the digit
_SHARES = {"train": 0.6, "validation": 0.15, "test": 0.25}  # of the digits and of each photograph's width
_SEED = 20_260_101


class DigitScenes(tfds.core.GeneratorBasedBuilder):
    """1 to 6 of scikit-learn's handwritten digits, recolored, on crops of its two sample photographs.

    The digits and the regions of the photographs are disjoint between the splits. Boxes are tight around the visible ink;
    `instances` is k + 1 where object k is visible and 0 elsewhere. At most 40 % of a digit's ink is covered. The configuration
    `digit_scenes/one` has one digit in each scene.

    Source: digits of the UCI "Optical Recognition of Handwritten Digits" set (CC BY 4.0) and the photographs china.jpg
    and flower.jpg (CC BY), both as shipped with scikit-learn.
    """

    VERSION = tfds.core.Version("1.0.0")
    # not BUILDER_CONFIGS, of which TFDS would take the first by default: without a configuration the data stays in its folder
    builder_configs = {"one": tfds.core.BuilderConfig(name="one", description="one digit in each scene")}
    NOTICE = "about 10 s"
    pkg_dir_path = None

    def _info(self):
        image = tfds.features.Image(shape=(SIDE, SIDE, 3), encoding_format="png")
        objects = {
            "bbox": tfds.features.BBoxFeature(),
            "label": tfds.features.ClassLabel(names=[str(digit) for digit in range(10)]),
            "is_crowd": np.bool_,
            "is_difficult": np.bool_,
            "colour": tfds.features.ClassLabel(names=list(COLORS)),
            "size": tfds.features.ClassLabel(names=list(SIZES)),
            "place": tfds.features.ClassLabel(names=list(PLACES)),
        }
        return self.dataset_info_from_configs(
            description=self.__doc__,
            homepage="https://scikit-learn.org/stable/datasets.html",
            features=tfds.features.FeaturesDict({
                "image": image,
                "image/id": np.int64,
                "image/filename": tfds.features.Text(),
                "instances": tfds.features.Image(shape=(SIDE, SIDE, 1), encoding_format="png"),
                "objects": tfds.features.Sequence(objects),
            }))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in EXAMPLES}

    def _generate_examples(self, split):
        digits, labels, _ = digits_of(split)
        regions = regions_of(split)
        most, stream = (MOST_OBJECTS, []) if self.builder_config is None else (1, [1])

        def example(index):
            # each image has its own generator, so that it does not depend on the number of draws for the others
            random = np.random.default_rng([_SEED, list(EXAMPLES).index(split), index, *stream])
            image, instances, objects = scene(digits, labels, regions, random, most)
            # image ids are unique across the splits
            number = list(EXAMPLES).index(split) * 1_000_000 + index
            return number, {
                "image": _png(image),
                "image/id": number,
                "image/filename": f"{split}_{index:05d}.png",
                "instances": _png(instances),
                "objects": objects,
            }

        # resizing and PNG encoding, half of the work, run beside the rest
        with concurrent.futures.ThreadPoolExecutor(2) as threads:
            yield from threads.map(example, range(EXAMPLES[split]))


def digits_of(split):
    """Returns (ink uint8 (n, 8, 8) 0..255, labels (n,), indices into scikit-learn's set), stratified by label."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(_SEED).permutation(len(digits.target))
    chosen = [_share(order[digits.target[order] == label], split) for label in range(10)]
    chosen = np.concatenate(chosen)
    return np.minimum(digits.images[chosen] * 16, 255).astype(np.uint8), digits.target[chosen], chosen


def regions_of(split):
    """Returns the strip of each photograph that belongs to a split, with its full height, as a list of PIL images."""
    from sklearn.datasets import load_sample_image

    photographs = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    return [PIL.Image.fromarray(photograph[:, columns_of(split, photograph.shape[1])]) for photograph in photographs]


def columns_of(split, width):
    """Returns the columns of a photograph that belong to a split: (n,)."""
    return _share(np.arange(width), split)


def scene(digits, labels, regions, random, most=MOST_OBJECTS):
    """Draws one scene of 1 to `most` digits; returns (image uint8 (128, 128, 3), instances uint8 (128, 128), list of objects)."""
    image = _background(regions, random)
    instances = np.zeros((SIDE, SIDE), np.uint8)
    wanted = random.integers(1, most + 1)
    colors_left = set(COLORS)
    objects, inks = [], []
    for _ in range(10 * wanted):
        if len(objects) == wanted:
            break
        index = random.integers(len(digits))
        height = 16.0 * 3.0 ** random.random()  # 16 to 48 pixels, half of them below 28
        opacity = _written(digits[index], height, np.deg2rad(random.uniform(-15, 15)))
        rows, columns = opacity.shape
        if max(rows, columns) > SIDE:
            continue
        top, left = random.integers(SIDE - rows + 1), random.integers(SIDE - columns + 1)
        window = np.s_[top:top + rows, left:left + columns]
        covered = instances.copy()
        covered[window][opacity >= _INK] = len(objects) + 1
        seen = np.bincount(covered.ravel(), minlength=len(objects) + 2)[1:]
        if any(seen[:-1] < (1 - MOST_COVERED) * np.array(inks)):
            continue
        instances = covered
        # no two digits of one image share a color, so that overlapping ones stay readable
        name = _contrasting(image[window][opacity >= _INK], colors_left, random)
        colors_left.discard(name)
        color = np.clip(COLORS[name] + random.uniform(-10, 10, 3), 0, 255)
        image[window] += opacity[..., None] * (color - image[window])
        inks.append(seen[-1])
        objects.append({
            "label": int(labels[index]), "is_crowd": False, "is_difficult": False, "colour": name,
            "size": SIZES[int(np.searchsorted((24, 34), height))],
        })
    for number, thing in enumerate(objects):
        thing["bbox"], thing["place"] = _box_and_place(instances == number + 1)
    return np.round(image).astype(np.uint8), instances, objects


def _share(values, split):
    """Returns the split's part of a sequence: one contiguous run, so that the splits share nothing."""
    ends = np.cumsum([0, *_SHARES.values()]) * len(values)
    place = list(_SHARES).index(split)
    return values[round(ends[place]):round(ends[place + 1])]


def _background(regions, random):
    region = regions[random.integers(len(regions))]
    side = int(64 * (min(region.size) / 64) ** random.random())
    left, top = [random.integers(length - side + 1) for length in region.size]
    crop = region.resize((SIDE, SIDE), PIL.Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    image = np.asarray(crop, np.float32)
    return (image[:, ::-1] if random.random() < 0.5 else image).copy()


def _written(ink, height, angle):
    """Returns the opacity, 0..1 and cut to the ink, of an 8x8 digit enlarged to about `height` pixels and rotated."""
    scale = height / 8
    side = int(np.ceil(1.5 * height)) + 4
    padded = np.zeros((16, 16), np.uint8)  # room for the interpolation
    padded[4:12, 4:12] = ink
    cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
    middle = side / 2
    matrix = (cosine, sine, 8 - (cosine + sine) * middle, -sine, cosine, 8 - (cosine - sine) * middle)
    smooth = PIL.Image.fromarray(padded).transform((side, side), PIL.Image.Transform.AFFINE, matrix, PIL.Image.Resampling.BICUBIC)
    # steeper than the interpolation, since strokes would look out of focus when enlarged six times
    opacity = np.clip((np.asarray(smooth, np.float32) / 255 - 0.25) * 3, 0, 1)
    rows, columns = _extent(opacity > 0)
    return opacity[rows, columns]


def _contrasting(background, names, random):
    """Returns one of the named colors that differs from nearly all of the pixels (n, 3) under the digit."""
    names = sorted(names)
    background = background[::len(background) // 64 + 1]  # about 64 pixels are enough
    differences = np.array([COLORS[name] for name in names])[:, None] - background[None]  # (colors, n, 3)
    brightness = np.abs(differences @ (0.299, 0.587, 0.114))
    hue = np.abs(differences - differences.mean(-1, keepdims=True)).max(-1)
    fifth = len(background) // 5
    contrast = np.partition(brightness + 0.4 * hue, fifth, axis=1)[:, fifth]  # (colors,)
    good = np.flatnonzero(contrast >= min(80, contrast.max()))
    return names[good[random.integers(len(good))]]


def _extent(mask):
    """Returns the slices of rows and columns that hold the mask's true pixels."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _box_and_place(seen):
    rows, columns = _extent(seen)
    box = tfds.features.BBox(ymin=rows.start / SIDE, xmin=columns.start / SIDE,
                             ymax=rows.stop / SIDE, xmax=columns.stop / SIDE)
    third = [min(int(3 * (part.start + part.stop) / 2 / SIDE), 2) for part in (rows, columns)]
    return box, PLACES[3 * third[0] + third[1]]


def _png(pixels):
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "png", compress_level=1, compress_type=zlib.Z_RLE)  # fastest
    file.seek(0)
    return file
