"""Which files `predict` takes, and what their answers are called."""
import os
import sys
import types

import pytest

from training import UserError
from training.engine.names import printable
from training.serving import requests

KINDS = (".jpg", ".png")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with photographs in it."""
    monkeypatch.chdir(tmp_path)
    for name in ("photos/b.jpg", "photos/a.JPG", "photos/notes.txt", "photos/._a.jpg", "photos/deep/c.png", "photos/.thumbs/d.png",
                 "photo[1].jpg", "photo1.jpg", "day [2]/e.jpg", "day 2/f.jpg", "predictions/a.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path


def names(*inputs, output="predictions"):
    return requests.names(inputs, KINDS, output)[0]


@pytest.mark.parametrize(("given", "found"), [
    ("photo1.jpg", ["photo1.jpg"]),
    ("photos", ["photos/a.JPG", "photos/b.jpg", "photos/deep/c.png"]),
    ("photos/*.jpg", ["photos/b.jpg"]),
    ("photos/*", ["photos/a.JPG", "photos/b.jpg", "photos/deep/c.png", "photos/notes.txt"]),  # what is named is taken
    ("photos/**/*.png", ["photos/deep/c.png"]),
    ("photo[1].jpg", ["photo[1].jpg"]),
    ("photo[12].jpg", ["photo1.jpg"]),
    ("photo?.jpg", ["photo1.jpg"]),
    ("day [2]/*.jpg", ["day [2]/e.jpg"]),  # the folder is there: its brackets are no pattern
    ("day*/*.jpg", ["day 2/f.jpg", "day [2]/e.jpg"]),
    ("-", ["-"]),
    ("Where is Mary?", ["Where is Mary?"]),
    ("Mary left. " * 100 + "Where is Mary?", ["Mary left. " * 100 + "Where is Mary?"]),  # longer than a file's name may be
])
def test_files_folders_and_patterns(folder, given, found):
    assert names(given) == found
    requests.check([given], None)


def test_absolute_names_and_the_home_folder(folder, monkeypatch):
    assert names(str(folder / "day [2]" / "*.jpg")) == [str(folder / "day [2]" / "e.jpg")]
    monkeypatch.setenv("HOME", str(folder))
    assert names("~/photo1.jpg") == [str(folder / "photo1.jpg")]
    (folder / "~").mkdir()
    (folder / "~" / "photo1.jpg").write_bytes(b"")
    assert names("~/photo1.jpg") == ["~/photo1.jpg"]


def test_what_a_folder_leaves_out_is_counted(folder):
    assert requests.names(["photos"], KINDS, "out")[1] == 1


def test_answers_of_an_earlier_time_are_no_inputs(folder):
    assert "predictions/a.png" not in names(".") and "predictions/a.png" in names(".", output="elsewhere")
    assert names("*") == [name for name in names("*", output="elsewhere") if not name.startswith("predictions")]


@pytest.mark.parametrize(("given", "words"), [
    ("none.jpg", "none.jpg cannot be read: there is no such file"), ("*.webp", "cannot be read: there is no such file"),
    ("photos/deep/..", None), ("day [3]/*.jpg", "no such file"), ("photos/.thumbs", None), ("", "no such file"),
])
def test_what_is_not_there_is_refused(folder, given, words):
    if words is None:
        assert names(given)
        return
    with pytest.raises(UserError, match=words):
        requests.check([given], None)


def test_a_folder_without_such_files(folder):
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match="empty contains no files that end in .jpg, .png"):
        names("empty")


@pytest.mark.skipif(os.name != "posix", reason="file names are Unicode")
def test_names_that_are_no_utf8(folder):
    name = os.fsdecode(b"caf\xe9.jpg")
    (folder / "photos" / name).write_bytes(b"")
    found = names("photos")
    assert f"photos/{name}" in found and printable(found[2]) == "photos/caf?.jpg"
    assert printable("a\x1b[31m\nb.jpg") == "a?[31m?b.jpg" and printable("größer\u202f.jpg") == "größer\u202f.jpg"
    assert requests.outputs(found, "out")[2].name == os.fsdecode(b"caf\xe9")


def test_every_answer_has_a_name_of_its_own():
    given = ["a/photo.jpg", "b/photo.jpg", "photo.png", "a/photo-2.jpg", "Photo.jpg", "-", "Where is it?", "Who?", "x" * 300 + ".jpg", "../up.jpg"]
    found = requests.outputs(given, "out")
    assert [path.name for path in found[:8]] == ["photo", "photo-2", "photo-3", "photo-2-2", "Photo-4", "standard-input", "question", "question-2"]
    assert len(found[8].name) == 180 and str(found[9]) == os.path.join("out", "up")
    assert len({path.name.casefold() for path in found}) == len(given)
    many = requests.outputs([f"{number}/photo.jpg" for number in range(20_000)], "out")
    assert len(set(many)) == 20_000


def test_an_answer_never_lies_where_an_input_does(folder):
    assert [path.name for path in requests.outputs(["photos/b.jpg", "photos/deep/c.png", "photo1.jpg"], folder / "photos" / "deep")] == [
        "b", "c-2", "photo1"]


def test_reading_has_a_bound(folder, monkeypatch):
    (folder / "large.jpg").write_bytes(b"12345")
    assert requests.read("large.jpg", 5) == b"12345"
    for name, words in (("large.jpg", "has more than 4 bytes"), ("photos", "photos cannot be read: Is a directory"), ("none", "No such file")):
        with pytest.raises(UserError, match=words):
            requests.read(name, 4)
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=open("large.jpg", "rb")))
    assert requests.read("-", 5) == b"12345"
