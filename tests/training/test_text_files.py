"""The encodings of users' text files."""
import codecs

import pytest

import training
from training.datasets.class_names import class_name, class_names
from training.text import files

TEXT = "café\nred\n"


@pytest.mark.parametrize("content", [
    TEXT.encode(), TEXT.encode("utf-8-sig"), TEXT.encode("utf-16"), codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
    TEXT.encode("utf-32"), TEXT.replace("\n", "\r\n").encode(), TEXT.replace("\n", "\r").encode()])
def test_lines_are_the_same_in_every_encoding(content):
    assert files.lines(content, "train.txt") == ["café", "red", ""]


@pytest.mark.parametrize("content, words", [
    (TEXT.encode("cp1252"), "train.txt is not UTF-8 text: .* at byte 3; save it as UTF-8"),
    (TEXT.encode("utf-16-le"), "train.txt is not UTF-8 text"),
    ("red".encode("utf-16-le"), "train.txt is not UTF-8 text: null character at position 1; save it as UTF-8"),
    (TEXT.encode("utf-16")[:-1], "train.txt is not UTF-16 text: .*; save it as UTF-8"),
    (b"\xff\xfe", "train.txt is not UTF-8 text"),
])
def test_other_encodings_are_refused_with_the_name_of_the_file(content, words):
    with pytest.raises(training.UserError, match=words):
        files.decoded(content, "train.txt")


def test_names_of_classes_are_trimmed_and_have_one_form():
    assert class_name("  cafe\u0301\t", "the name") == "caf\u00e9"
    assert class_name("می\u200cخواهم", "the name") == "می\u200cخواهم"
    assert class_names([" red", "dark red"], "labels.txt") == ["red", "dark red"]


@pytest.mark.parametrize("name", ["", " \t", "traffic\nlight", "a\r\nb", "a\x00b", "\ufeffred", "a\u2028b", "\ud800"])
def test_names_that_do_not_survive_are_refused(name):
    with pytest.raises(training.UserError, match="the name of category 3 is not a valid class name") as error:
        class_name(name, "the name of category 3")
    assert str(error.value).isprintable()


def test_twins_are_refused():
    with pytest.raises(training.UserError, match="labels.txt lists the name 'caf\u00e9' twice"):
        class_names(["caf\u00e9", "red", " cafe\u0301"], "labels.txt")
