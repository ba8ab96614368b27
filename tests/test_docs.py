"""What people read names only what exists, its examples are right, and its pictures are small."""
import ast
import dataclasses
import importlib.util
import io
import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from apps.__main__ import catalogue
from training import UserError, settings_tables, tables
from training.datasets import coco_folder, image_folder, voc_folder

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in (
    *tables.documents(tables.DOCUMENTS, ROOT), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/*.py")))}
OF_OTHERS = {"--help", "--version", "--config", "--server", "--trials", "--keep", "--yes", "--logdir", "--port",
             "--print-config", "--check", "--results", "--export", "--exports", "--output", "--group", "--shard",
             "--dir", "--all", "--data", "--no-"}
"""flags of verbs that all applications have, of other commands, and of other programs"""


def spec_of(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors(text):
    """Returns the names by which links reach the headings of a page, as GitHub makes them."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]) + re.findall(r'src="([^"]+)"', PAGES[page]):
        file, _, anchor = link.partition("#")
        target = (ROOT / page).parent / file if file else ROOT / page
        if not link.startswith(("http", "mailto")):
            if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
                wrong.append(link)
    assert not wrong


def test_every_page_is_reached_from_the_readme():
    assert not [page for page in PAGES if page.startswith("docs/") and page != "docs/gallery.py" and f"]({page})" not in PAGES["README.md"]]


def test_every_flag_exists():
    flags = {task: {"--" + ("no-" if no else "") + field.name.replace("_", "-")
                    for kind in (*app.systems.values(), *app.verbs.values()) for field in dataclasses.fields(kind)
                    for no in (False, True)[:1 + (field.type is bool)]}
             for task, app in catalogue().items()}
    wrong = []
    for page, text in PAGES.items():
        # the changelog tells what flags were called before; tables of settings are generated from the classes
        lines = [] if page in ("CHANGELOG.md", "docs/gallery.py") else re.sub(r"^\| .*--.*$", "", text, flags=re.MULTILINE).splitlines()
        for line in lines:
            named = [flags[name] for name in re.findall(r"python -m apps\.(\w+)", line) if name in flags] or flags.values()
            unknown = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+(?!\w)", line)) - set().union(*named) - OF_OTHERS
            wrong += [f"{page}: {unknown} in: {line}"] * ("docker" not in line and bool(unknown))
    assert not wrong


def test_every_application_command_exists():
    apps = catalogue()
    assert not {name for text in PAGES.values() for name in re.findall(r"python -m apps\.(\w+)", text)} - set(apps)


@pytest.mark.parametrize("page", [page for page in PAGES if page.endswith(".md")])
def test_code_is_well_formed(page):
    for language, code in re.findall(r"^```(\w+)\n(.*?)^```", PAGES[page], re.MULTILINE | re.DOTALL):
        if language == "python" and not code.startswith(" "):  # a line of a list is no program
            ast.parse(code)
        elif language == "json":
            json.loads(code)


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], re.MULTILINE | re.DOTALL)


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((480, 640, 3), np.uint8)).save(path)


def test_the_examples_of_data_are_read(tmp_path):
    coco, voc, folder = tmp_path / "coco", tmp_path / "voc", tmp_path / "folder"
    picture(coco / "images" / "photo1.jpg")
    (coco / "instances_train.json").write_text(blocks("docs/data.md", "json")[0])
    found = coco_folder.CocoFolder.config_for(coco, "identity")
    assert found.class_names == ["cat"] and len(found.parts["train"]) == 1
    picture(voc / "JPEGImages" / "photo1.jpg")
    (voc / "Annotations").mkdir()
    (voc / "Annotations" / "photo1.xml").write_text(blocks("docs/data.md", "xml")[0])
    found = voc_folder.VocFolder.config_for(voc, "identity")
    assert found.class_names == ["cat"] and len(found.parts["train"]) == 1
    for name in ("train/cat/001", "train/dog/a", "val/cat/101", "val/dog/k", "test/cat/201", "test/dog/x"):
        picture(folder / f"{name}.jpg")
    found = image_folder.ImageFolder.config_for(folder, "identity")
    assert found.class_names == ["cat", "dog"] and {split: len(part) for split, part in found.parts.items()} == {
        "train": 2, "validation": 2, "test": 2}


def test_the_gallery_is_there_and_small():
    gallery = spec_of("gallery")
    for name in gallery.PICTURES:
        path = ROOT / "docs" / "gallery" / name
        assert path.is_file(), f"{name} is missing: train the default run of the application, then python docs/gallery.py"
        assert path.stat().st_size <= gallery.LARGEST, f"{name} is too large"
        assert f"docs/gallery/{name}" in PAGES["README.md"]
        with Image.open(path) as image:
            image.load()


@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_pictures_of_the_gallery_are_made_to_fit(ending):
    gallery = spec_of("gallery")
    noise = [Image.fromarray(np.random.default_rng(seed).integers(0, 256, (300, 400, 3), np.uint8)) for seed in range(3)]
    content = gallery.fitted(gallery.side_by_side(noise), ending)
    assert len(content) <= gallery.LARGEST
    with Image.open(io.BytesIO(content)) as image:
        assert image.width > 100 and image.width / image.height == pytest.approx(1216 / 300, rel=0.02)


def test_the_walk_through_runs(tmp_path):
    ended = subprocess.run([sys.executable, ROOT / "docs" / "walk_through.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300,
                           env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)})
    assert ended.returncode == 0, ended.stderr[-3000:]
    folder, = tmp_path.glob("walk_through-*")
    assert (folder / "attention.png").is_file() and "hop 3: " in ended.stdout and "after further training" in ended.stdout
    assert [path.name for path in sorted((folder / "runs" / "memory_qa").iterdir())] == ["first", "second"]
    assert {path.parts[-2:] for path in folder.glob("*/memory_qa/[0-9]")} == {("memory_qa", "1"), ("memory_qa", "2")}
    assert (folder / "by_hand" / "memory_qa" / "1" / "saved_model.pb").is_file()


def test_tables_of_settings_tell_what_the_classes_declare():
    lines = settings_tables.table("detection").splitlines()
    assert ("| `--max-objects` | all | 100 | 8 for digit_scenes; 64 for bccd | integer, 1 or more | "
            "maximum number of objects per training image; further ones are ignored, neither objects nor background |") in lines
    first, = [number for number, line in enumerate(lines) if line.startswith("| `--anchor-octaves` | faster_rcnn | 1 | 2 for digit_scenes, bccd |")]
    assert lines[first + 1] == "|  | retinanet | 3 | 2 for digit_scenes |  |  |"  # what would be repeated is empty
    text = settings_tables.table("classification")
    assert "224 with `--full-size`" in text and "(only with `--augment`)" in text and "(not with `--dropout 0`)" in text
    assert "| `--steps-per-call` | none | integer, 1 or more, or none |" in settings_tables.table("shared")
    assert "| `RUN` | none | text or none |" in settings_tables.table("dialog chat") and "--runs" in settings_tables.table("dialog chat")
    assert settings_tables.systems("foundations").splitlines()[2].startswith("| `softmax` (default) | Softmax regression")
    for name in ("nothing", "detection chat"):
        with pytest.raises(UserError):
            settings_tables.table(name)


def test_signatures_as_a_table():
    described = {"embed": {"inputs": {"text": ("string", (None,))}, "outputs": {"features": ("float32", (None, 4, None)), "size": ("int32", ())}}}
    assert tables.signatures(described).splitlines()[2:] == [
        "| `embed` | input | `text` | string | (batch) |", "| `embed` | output | `features` | float32 | (batch, 4, any) |",
        "| `embed` | output | `size` | int32 | () |"]
