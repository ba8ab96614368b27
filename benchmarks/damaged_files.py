"""Damaged archives, annotations, lists, images, settings, checkpoints and weights as inputs of the commands that read them."""
import contextlib
import gzip
import io
import json
import pathlib
import shutil
import tarfile
import tempfile
import zipfile
from typing import Callable, NamedTuple

import numpy as np
import PIL.Image

from benchmarks import damage

TEXTS = (".xml", ".json", ".txt")
"""extensions of text files, in which characters are damaged as well as bytes"""
_SIGNS = (b"-1", b"0", b"1e400", b"NaN", b"null", b'""', b"[]", b"{}", b"true", b"99999999999999999999", b"<", b">", b"&x;",
          b"\xff", b"\0", b"../", b"\n", b'"', "größer".encode(), b"\xef\xbb\xbf")


class Case(NamedTuple):
    """A folder of intact files, the files to damage, and the command that reads them."""

    folder: pathlib.Path
    files: str
    """pattern of the files to damage"""
    command: Callable[[pathlib.Path], None]
    """function of a copy of the folder"""


def check(folder, count, seed, only=None):
    """Runs the commands on `count` damaged files and returns the `damage.Report`.

    folder: an empty working folder
    only:   names of cases of data sets; None: all cases
    """
    report, random = damage.Report(), np.random.default_rng(seed)
    all_cases = {name: case for name, case in (data_cases(folder) | ({} if only else run_cases(folder))).items()
                 if only is None or name in only}
    for name, case in all_cases.items():
        fault = outcome(case, folder / "copy")[1]
        if fault:
            raise RuntimeError(f"{name}: the intact files are refused: {fault}")
    for number in range(count):
        name = list(all_cases)[number % len(all_cases)]
        what, fault = outcome(all_cases[name], folder / "copy", random)
        report.counts[what] += 1
        if fault:
            report.failures.append(f"{name}, number {number}: {fault}")
    return report


def outcome(case, copy, random=None):
    """Returns ("ended well", "refused" or "failed", description) for a command on a copy of the files, with one file damaged.

    A message that only names a Python exception counts as a failure.
    """
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(case.folder, copy)
    if random:
        paths = sorted(path for path in copy.glob(case.files) if path.is_file())
        path, other = (paths[place] for place in random.integers(0, len(paths), 2))
        path.write_bytes(damaged(path, random, other.read_bytes()))
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            case.command(copy)
    except SystemExit as ended:
        lines = said.getvalue().strip().splitlines()
        sentence = lines[-1] if lines else ""
        is_sentence = sentence.startswith("error: ") and "(--debug shows the traceback)" not in sentence
        # notes such as "lists 1 image more than once" may come first
        if ended.code == 2 and is_sentence and not any(line.startswith(("error: ", "Traceback")) for line in lines[:-1]):
            return "refused", sentence if random is None else ""
        return "failed", f"exit code {ended.code}: {' / '.join(lines)[:300]}"
    except Exception as error:  # that is what is looked for
        return "failed", f"{type(error).__name__}: {str(error)[:200]}"
    return "ended well", ""


def damaged(path, random, other):
    """Returns the damaged content of a file; in a text, one position may be replaced by a number, a character or another
    text."""
    content = path.read_bytes()
    if path.suffix in TEXTS and content and random.random() < 0.6:
        for _ in range(random.integers(1, 3)):
            at = int(random.integers(0, len(content)))
            content = content[:at] + _SIGNS[random.integers(0, len(_SIGNS))] + content[at + int(random.integers(0, 6)):]
        return content
    return damage.damaged(content, random, other)


def data_cases(folder):
    """Writes the intact files of data sets into a folder and returns {name: Case}."""
    given = {name: folder / name for name in ("voc", "coco", "images", "bccd", "babi", "metaqa")}
    for path in given.values():
        path.mkdir()
    small = dict(image_size=64, pyramid_filters=16, head_units=32, regions_per_image=16, proposals=16)
    _write_voc(given["voc"])
    _write_coco(given["coco"])
    for split, label, number in np.ndindex(3, 2, 2):
        _write(given["images"] / ("train", "val", "test")[split] / ("cat", "dog")[label] / f"{number}.{('png', 'jpg')[number]}",
               _picture(split + label, ("PNG", "JPEG")[number]))
    _write_zip(given["voc"], given["bccd"] / "manual" / "bccd" / "BCCD.zip")
    _write_babi(given["babi"] / "manual" / "babi" / "tasks_1-20_v1-2.tar.gz")
    _write_metaqa(given["metaqa"] / "manual" / "metaqa")
    detection, stories = _reads("detection", **small), _reads("memory_qa", "manual", memory_size=8)
    return {
        "voc annotations": Case(given["voc"], "Annotations/*", detection("voc_folder")),
        "voc lists": Case(given["voc"], "**/*.txt", detection("voc_folder")),
        "coco annotations": Case(given["coco"], "*.json", detection("coco_folder")),
        "image folder": Case(given["images"], "*/*/*", _reads("classification", model="softmax", image_size=8)("image_folder")),
        "zip archive": Case(given["bccd"], "**/*.zip", _reads("detection", "manual", **small)("bccd")),
        "tar archive": Case(given["babi"], "**/*.tar.gz", stories("babi")),
        "gzip files": Case(given["metaqa"], "**/*.gz", stories("metaqa/1-hop")),
    }


def run_cases(folder):
    """Creates a run, its export and an interrupted run in a folder and returns {name: Case}."""
    given = folder / "run"
    given.mkdir()
    flags = _write_run(given, folder)
    evaluate = _command("classification", "evaluate", "done", "--resamples", "0")
    return {
        "settings": Case(given, "runs/classification/done/config.json", _command(
            "classification", "summary", *flags, "--config", "runs/classification/done/config.json")),
        "run": Case(given, "runs/classification/done/*.json", evaluate),
        "weights": Case(given, "runs/classification/done/*.h5", evaluate),
        "checkpoints": Case(given, "runs/classification/stopped/checkpoints/*", _command(
            "classification", "--resume", "--name", "stopped")),
        "listed runs": Case(given, "runs/classification/*/*.json", _runs),
        "export": Case(given, "saved_models/classification/1/variables/*", _command(
            "classification", "predict", "photo.png")),
    }


def _reads(task, inside="", **settings):
    """Returns a function from the name of a data set to a command that reads it as a training does."""
    from training import cli
    from training.app import App

    def of_set(dataset):
        def command(folder):
            app = App(task)
            with tempfile.TemporaryDirectory() as data_dir, cli.sentences():
                app.data.datasets(app.config(**settings, batch_size=1, dataset=dataset, manual_dir=str(folder / inside),
                                             data_dir=data_dir))
        return command
    return of_set


def _command(task, *arguments):
    """Returns a command that runs `python -m apps.<task>` with these arguments in a folder."""
    from training import cli
    from training.serving import export

    def command(folder):
        export._load.cache_clear()
        with contextlib.chdir(folder):
            cli.main(f"apps.{task}", list(arguments))
    return command


def _runs(folder):
    """Lists the runs in a folder, as `python -m apps runs` does."""
    from training import cli, runs

    with contextlib.chdir(folder), cli.sentences():
        runs.main(["list"])


def _write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def _picture(seed, kind="PNG"):
    file = io.BytesIO()
    PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8)).save(file, kind)
    return file.getvalue()


def _write_voc(folder):
    for number, split in enumerate(("train", "val", "test")):
        names = [f"{split}_{place}" for place in (1, 2)]
        _write(folder / "ImageSets" / "Main" / f"{split}.txt", "\n".join(names) + "\n")
        for place, name in enumerate(names):
            _write(folder / "JPEGImages" / f"{name}.jpg", _picture(number * 2 + place, "JPEG"))
            _write(folder / "Annotations" / f"{name}.xml", f"""<annotation>
  <filename>{name}.jpg</filename><size><width>32</width><height>24</height><depth>3</depth></size>
  <object><name>RBC</name><difficult>0</difficult>
    <bndbox><xmin>3</xmin><ymin>4</ymin><xmax>20</xmax><ymax>18</ymax></bndbox></object>
  <object><name>WBC</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>
</annotation>""")
    _write(folder / "labels.txt", "RBC\nWBC\n")


def _write_coco(folder):
    categories = [{"id": 1, "name": "cup"}, {"id": 2, "name": "key"}]
    for number, split in enumerate(("train", "val", "test")):
        images = [{"id": place, "file_name": f"{split}_{place}.png", "height": 24, "width": 32} for place in (1, 2)]
        boxes = [{"id": 10 * place + kind, "image_id": place, "category_id": kind, "bbox": [2, 3, 10 * kind, 9.5], "iscrowd": 0}
                 for place in (1, 2) for kind in (1, 2)]
        _write(folder / f"instances_{split}.json", json.dumps(
            {"images": images, "annotations": boxes, "categories": categories}, indent=1))
        for place in (1, 2):
            _write(folder / f"{split}_{place}.png", _picture(number * 2 + place))


def _write_zip(voc, path):
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(voc.rglob("*")):
            if name.is_file():
                archive.write(name, f"BCCD/{name.relative_to(voc)}")


def _write_babi(path):
    from training.datasets import babi

    path.parent.mkdir(parents=True)
    story = "".join(f"{2 * place + 1} Mary went to the {room}.\n{2 * place + 2} Where is Mary? \t{room}\t{2 * place + 1}\n"
                    for place, room in enumerate(("office", "garden", "kitchen"))).encode()
    with tarfile.open(path, "w:gz") as archive:
        for number, task in enumerate(babi.TASKS, 1):
            for split in ("train", "test"):
                member = tarfile.TarInfo(f"tasks_1-20_v1-2/en/qa{number}_{task}_{split}.txt")
                content = story * 4 if split == "train" else story
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def _write_metaqa(folder):
    asked = "".join(f"who directed [film {number}]\tperson {number}\n" for number in range(20))
    texts = {"kb.txt": "".join(f"film {number}|directed_by|person {number}\n" for number in range(20))}
    for part in ("dev", "test"):
        texts |= {f"1-hop/qa_{part}.txt": asked, f"1-hop/qa_{part}_qtype.txt": "movie_to_director\n" * 20}
    for name, text in texts.items():
        _write(folder / f"{name}.gz", gzip.compress(text.encode(), mtime=0))


def _write_run(folder, above):
    """Trains twice, for three steps, and leaves the second run as a kill would; returns the flags of the data."""
    from training import cli

    data = str(above / "prepared")
    flags = ["--model", "softmax", "--image-size", "8", "--data-dir", data]
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        for name in ("done", "stopped"):
            cli.main("apps.classification", [*flags, "--limit-steps", "3", "--checkpoint-every", "2", "--name", name])
    stopped = folder / "runs" / "classification" / "stopped"
    for path in stopped.iterdir():
        if path.name not in ("config.json", "spec.json", "checkpoints"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(folder / "saved_models" / "classification" / "2")
    _write(folder / "photo.png", _picture(0))
    return ["--data-dir", data]
