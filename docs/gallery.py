"""Makes the pictures of the README's gallery from finished runs.

    python docs/gallery.py     after the default run of each application

Each picture is scaled down until it takes at most 60 KiB. Applications without a finished run keep the picture that they have.
"""
import argparse
import io
import pathlib

from PIL import Image

from training import runs

PICTURES = {
    "front.jpg": ("detection", "detections", 4),
    "detection.jpg": ("detection", "detections", 1),
    "classification.png": ("classification", "wrong", 1),
    "transfer.png": ("transfer", "confusion", 1),
    "ensembles.png": ("ensembles", "members", 1),
    "memory_qa.png": ("memory_qa", "attention", 1),
    "dialog.png": ("dialog", "attention", 1),
    "foundations.png": ("foundations", "boundary", 1),
}
"""file of the gallery -> (application, name of the pictures in its run, how many stand side by side)"""
LARGEST = 60 * 1024
"""bytes of a picture"""
WIDEST = 960
"""pixels"""


def fitted(image, ending):
    """Returns the bytes of an image, scaled down until they are few enough; `ending` is .png, with 256 colors, or .jpg."""
    image = image.convert("RGB")
    scale = min(1.0, WIDEST / image.width)
    while True:
        small = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        if ending == ".jpg":
            small.save(file, "jpeg", quality=85, optimize=True)
        else:
            small.quantize(256).save(file, "png", optimize=True)
        if file.tell() <= LARGEST:
            return file.getvalue()
        scale *= 0.9


def side_by_side(images):
    """Returns images of one height as one, with a gap between them."""
    gap = 8
    joined = Image.new("RGB", (sum(image.width + gap for image in images) - gap, max(image.height for image in images)), "white")
    left = 0
    for image in images:
        joined.paste(image, (left, 0))
        left += image.width + gap
    return joined


def main(arguments=None):
    """Writes the pictures of every application that has a finished run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", default="runs", help="folder that holds the runs")
    parser.add_argument("--output", default=pathlib.Path(__file__).with_name("gallery"), type=pathlib.Path,
                        help="folder that takes the pictures")
    parser.add_argument("--run", action="append", default=[], help="folder or name of a run to use in place of the newest one")
    chosen = parser.parse_args(arguments)
    named = [runs.find(name, chosen.runs) for name in chosen.run]
    chosen.output.mkdir(parents=True, exist_ok=True)
    for name, (app, pictures, count) in PICTURES.items():
        found = [run for run in [*named, *runs.every(chosen.runs, app)]
                 if run.results and run.folder.resolve().parent.name == app]
        paths = [found[0].folder / "pictures" / f"{pictures}_{number}.png" for number in range(count)] if found else []
        if not paths or not all(path.is_file() for path in paths):
            print(f"left as it is: {name}, since no finished run of {app} has the pictures {pictures}")
            continue
        content = fitted(side_by_side([Image.open(path) for path in paths]), pathlib.Path(name).suffix)
        (chosen.output / name).write_bytes(content)
        print(f"{name}: {len(content):,} bytes, from {found[0].folder}")


if __name__ == "__main__":
    main()
