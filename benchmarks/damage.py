"""Damaged and hostile inputs: an export answers or rejects each of them without affecting other answers, and a command
succeeds or ends with one sentence and exit code 2.

    python -m benchmarks.damage --app detection --count 1000    # damaged images; also classification, transfer, ensembles
    python -m benchmarks.damage --app memory_qa --count 1000    # hostile texts; also dialog
    python -m benchmarks.damage --app commands --count 200      # archives, annotations, settings, checkpoints

The inputs depend on --seed. Without --export, the export of a tiny run is used.
"""
import argparse
import collections
import contextlib
import functools
import io
import os
import pathlib
import sys
import tempfile
import time

import numpy as np
import PIL.Image

MOST_ROWS = 16
"""rows per batch"""
TINY = {
    "detection": dict(image_size=64, batch_size=4, pyramid_filters=16, head_units=32, regions_per_image=16, proposals=16),
    "classification": dict(image_size=16, width=4, batch_size=16),
    "transfer": dict(image_size=8, width=4, batch_size=16, source_epochs=1),
    "ensembles": dict(members=2, hidden=8, batch_size=16, epochs=2),
    "memory_qa": dict(embedding_size=8, memory_size=10, hops=2, epochs=4, tasks=(1, 6)),
    "dialog": dict(embedding_size=8, memory_size=10, hops=2),
}
"""app -> settings of the tiny run that provides the export"""
_WORDS = ("mary", "john", "went", "to", "the", "kitchen", "garden", "milk", "where", "is", "hello", "api_call", "<SILENCE>",
          "user:", "bot:", "kb:", "zebra", "größer", "東京", "\U0001f600", "e\u0301", "\u202e", "\ufeff", "\u2028", "\u200b",
          "[", "]", "[x]", ".", "?", "!", "...", "\t", "\r", "\0", "\x1b[31m", "%s", "{0}", "\\1", "\\n", "'", '"', "-" * 80,
          "a" * 500, "1e999")


def damaged(content, random, other=b""):
    """Returns bytes with one to three kinds of damage.

    content: the intact bytes
    random:  np.random.Generator
    other:   bytes whose end may replace the end of the content
    """
    content = bytearray(content)
    for _ in range(random.integers(1, 4)):
        early = random.random() < 0.4  # most of what a decoder believes stands there
        at = int(random.integers(0, min(len(content), 64 if early else len(content)) + 1))
        length = int(random.choice([1, 1, 2, 4, 16, 100]))
        noise = random.integers(0, 256, length, np.uint8).tobytes()
        kind = random.integers(0, 8)
        if kind == 0:
            del content[at:]
        elif kind == 1 and content:
            content[min(at, len(content) - 1)] ^= 1 << int(random.integers(0, 8))
        elif kind == 2:
            content[at:at + length] = noise
        elif kind == 3:
            content[at:at + length] = bytes([int(random.choice([0, 255, 127, 128]))]) * length
        elif kind == 4:
            del content[at:at + length]
        elif kind == 5:
            content[at:at] = content[at:at + 20 * length]
        elif kind == 6:
            content[at:at] = noise
        else:
            content[at:] = other[at:]
    return bytes(content)


def pictures(random):
    """Returns the bytes of small images in all formats and modes."""
    pixels = random.integers(0, 256, (23, 31, 3), np.uint8)
    image = PIL.Image.fromarray(pixels)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    deep = PIL.Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    found = []
    for picture, kind, options in [
            (image, "JPEG", {}), (image, "JPEG", {"progressive": True, "exif": exif.tobytes()}), (image.convert("L"), "JPEG", {}),
            (image.convert("CMYK"), "JPEG", {}), (image, "PNG", {}), (image.convert("RGBA"), "PNG", {}),
            (image.convert("P"), "PNG", {}), (image.convert("1"), "PNG", {}), (deep, "PNG", {}),
            (image.convert("P"), "GIF", {"save_all": True, "append_images": [image.rotate(90).convert("P")]}), (image, "BMP", {}),
            (image.convert("P"), "BMP", {}), (image, "WEBP", {}), (image, "TIFF", {}), (deep, "TIFF", {}),
            (image.resize((1, 1)), "PNG", {}), (image.resize((1, 999)), "JPEG", {}), (image.resize((300, 2)), "GIF", {})]:
        file = io.BytesIO()
        picture.save(file, kind, **options)
        found.append(file.getvalue())
    return found


def hostile_images(count, seed):
    """Yields the inputs of `count` damaged images, some of which are not images at all."""
    random = np.random.default_rng(seed)
    whole = pictures(random)
    for _ in range(count):
        one, other = (whole[place] for place in random.integers(0, len(whole), 2))
        if random.random() < 0.05:
            one = one[:int(random.integers(0, 12))] + random.integers(0, 256, int(random.integers(0, 300)), np.uint8).tobytes()
        yield {"image_bytes": one if random.random() < 0.1 else damaged(one, random, other)}


def hostile_text(random, prefixes=("",)):
    """Returns lines of words and special characters, some of them with damaged bytes.

    prefixes: possible beginnings of a line
    """
    lines = []
    for _ in range(int(random.choice([0, 1, 2, 5, 20, 200]))):
        words = random.choice(_WORDS, int(random.choice([0, 1, 3, 8, 70])))
        lines.append(str(random.choice(prefixes)) + " ".join(words))
    text = str(random.choice(["\n", "\n", ". ", "\r\n", "\0"])).join(lines).encode("utf-8", "surrogatepass")
    return damaged(text, random, b"user: where is mary?") if random.random() < 0.4 else text


def hostile_questions(count, seed):
    """Yields the inputs of `count` stories with questions."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        story, question = hostile_text(random), hostile_text(random)
        if random.random() < 0.5:
            story = b"\n".join([b"mary went to the kitchen."] * int(random.choice([1, 11, 60, 1000])))
        elif random.random() < 0.5:
            question = b"where is mary?"
        yield {"story": story, "question": question}


def hostile_dialogues(count, seed):
    """Yields the inputs of `count` dialogues, most of which end with the user's turn."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        text = hostile_text(random, ("user: ", "bot: ", "kb: ", "user:", "", " USER : "))
        yield {"history": text + b"\nuser: hello" if random.random() < 0.6 else text}


HOSTILE = {"memory_qa": hostile_questions, "dialog": hostile_dialogues}
"""app -> its hostile inputs; all other apps get images"""
GOOD = {"memory_qa": {"story": b"Mary went to the garden. John took the milk.", "question": b"Where is Mary?"},
        "dialog": {"history": b"user: hello\nbot: hello what can i help you with today\nuser: i need a table"}}
"""app -> a valid input in the same batch"""


class Report:
    """The outcome: the numbers of answered and rejected inputs, and one line per failure."""

    def __init__(self):
        self.counts, self.failures = collections.Counter(), []

    def __str__(self):
        counts = ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items()))
        return "\n".join([*self.failures, f"{counts}, {len(self.failures)} failures"])


def check_export(ask, hostile, good, most_rows=MOST_ROWS):
    """Sends hostile rows between two valid rows and returns the Report.

    ask:     function from {input: list of rows} to {output: array}, such as `training.serving.export.answer` of a version
    hostile: rows, {input: value} each
    good:    a valid row; its answer must never change
    """
    report, hostile = Report(), list(hostile)
    alone = ask(_columns([good]))
    if alone["error"][0]:
        report.failures.append(f"the good row is refused: {alone['error'][0].decode()}")
    for first in range(0, len(hostile), most_rows - 2):
        rows = hostile[first:first + most_rows - 2]
        try:
            answer = ask(_columns([good, *rows, good]))
        except Exception as error:  # that is what is looked for
            report.failures += [f"rows {first} to {first + len(rows) - 1}: {type(error).__name__}: {str(error)[:200]}",
                                *(f"  row {first + place} alone: {wrong}" for place, row in enumerate(rows)
                                  if (wrong := _wrong(ask, row)))]
            continue
        for name, values in answer.items():
            if len(values) != len(rows) + 2:
                report.failures.append(f"rows {first} on: {name} has {len(values)} rows for {len(rows) + 2}")
            for place in (0, -1):
                if not _alike(values[place], alone[name][0]):
                    report.failures.append(f"rows {first} on change {name} of a neighbor")
        for place, error in enumerate(answer["error"][1:-1]):
            report.counts["refused" if error else "answered"] += 1
            broken = [name for name, values in answer.items() if not _is_sound(values[place + 1])]
            if broken:
                report.failures.append(f"row {first + place}: {', '.join(broken)} is not a finite number or not UTF-8 text")
    return report


def _columns(rows):
    return {name: [row[name] for row in rows] for name in rows[0]}


def _wrong(ask, row):
    """Returns what asking for one row alone raises."""
    try:
        ask(_columns([row]))
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:100]}; {repr(row)[:200]}"
    return None


def _alike(found, expected):
    if np.asarray(expected).dtype.kind in "fc":
        return np.shape(found) == np.shape(expected) and np.allclose(found, expected, rtol=1e-3, atol=1e-3)
    return np.array_equal(found, expected)


def _is_sound(values):
    values = np.asarray(values)
    if values.dtype.kind != "O" and values.dtype.kind != "S":
        return bool(np.isfinite(values).all())
    try:
        return all(text.decode("utf-8") is not None for text in values.ravel().tolist())
    except UnicodeDecodeError:
        return False


@contextlib.contextmanager
def _libraries_silenced():
    """Keeps what the image decoders say of damage off the screen; it does not come through Python."""
    screen, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(screen, 2)
        os.close(screen)
        os.close(nowhere)


def tiny_export(task, folder):
    """Creates a run of three steps in a folder and returns its export."""
    from training import run
    from training.app import App

    app = App(task)
    config = app.config(**TINY[task], limit_steps=3, name="tiny", runs=str(folder / "runs"),
                        saved_models=str(folder / "saved_models"))
    return pathlib.Path(run.train(app, config)["export"])


def main(task, count, seed, version=None):
    """Prints and returns the Report of an app's export or of the commands."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        if task == "commands":
            from benchmarks import damaged_files

            reports = {"commands": damaged_files.check(pathlib.Path(folder), count, seed)}
        else:
            from training.serving import export

            version = version or tiny_export(task, pathlib.Path(folder))
            hostile = list(HOSTILE.get(task, hostile_images)(count, seed))
            good = GOOD.get(task) or {"image_bytes": pictures(np.random.default_rng(1))[4]}
            with _libraries_silenced():
                reports = {name: check_export(functools.partial(export.answer, version, signature=name), hostile, good)
                           for name in export.describe(version)}
    for name, report in reports.items():
        print(f"{task}, {name}, seed {seed}: {report}")
    print(f"{time.perf_counter() - began:.0f} s")
    return reports


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--app", required=True, choices=[*TINY, "commands"])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--export", help="folder of one exported version, such as saved_models/detection/1")
    given = parser.parse_args()
    found = main(given.app, given.count, given.seed, given.export)
    sys.exit(any(report.failures for report in found.values()))
