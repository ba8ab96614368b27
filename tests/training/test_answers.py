"""`predict`: bounded batches, each answer written at once, and what is refused is counted."""
import json
import os
import types

import numpy as np
import pytest

from training import UserError
from training.cli import Predict
from training.serving import answers, client
from training.serving.requests import Asked


class Serving:
    """A room `serving` that measures texts; a text that begins with "!" is refused here, with "?" by the signature."""

    PREDICT, KINDS, BATCH = "measure", (".txt",), 3

    def __init__(self):
        self.read = []

    def request(self, name):
        with open(name, "rb") as file:
            content = file.read()
        self.read.append(name)
        if content.startswith(b"!"):
            raise UserError(f"{name} is refused")
        return Asked({"text": [content]}, len(self.read))

    def present(self, asked, answer, path):
        (error,) = answer["error"].tolist()
        return {"error": error.decode(), "length": int(answer["length"][0])}, [f"{answer['length'][0]} bytes", "more"]


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """Takes the place of the export: keeps how many rows each call has, and how many files had been read and answered."""
    monkeypatch.chdir(tmp_path)
    calls = []

    def signature(inputs):
        calls.append((len(inputs["text"]), len(app.serving.read), len(list(tmp_path.glob("out/*.json")))))
        return {"length": np.array([len(text) for text in inputs["text"]]),
                "error": np.array([b"no text" if text.startswith(b"?") else b"" for text in inputs["text"]], object)}

    app = types.SimpleNamespace(task="texts", serving=Serving())
    monkeypatch.setattr(answers, "_asker", lambda *_: signature)

    def predict(**texts):
        for name, content in texts.items():
            (tmp_path / f"{name}.txt").write_bytes(content)
        answers.predict(app, Predict(inputs=tuple(f"{name}.txt" for name in texts), output="out"))

    predict.calls, predict.app = calls, app
    return predict


def document(name):
    with open(os.path.join("out", f"{name}.json"), encoding="utf-8") as file:
        return json.load(file)


def test_batches_are_bounded_and_each_answer_is_written_before_the_next_is_read(ask, capsys):
    ask(**{f"t{number}": bytes(number) for number in range(8)})
    assert ask.calls == [(3, 4, 0), (3, 7, 3), (2, 8, 6)]  # one file is read ahead
    assert [document(f"t{number}")["length"] for number in range(8)] == list(range(8))
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["t0.txt: 0 bytes", "  more"] and said[-1] == "8 predictions in out"


def test_a_batch_has_not_too_many_bytes(ask, monkeypatch):
    monkeypatch.setattr(answers, "_BATCH_BYTES", 10)
    ask(a=bytes(6), b=bytes(6), c=bytes(4), d=bytes(50), e=b"")
    assert [rows for rows, *_ in ask.calls] == [1, 2, 1, 1]


def test_what_is_refused_stops_nothing_and_is_counted(ask, capsys):
    with pytest.raises(UserError, match="^2 of 4 predictions failed; the first error: no.txt is refused$"):
        ask(good=b"12", no=b"!", bad=b"?", last=b"123")
    assert document("good") == {"file": "good.txt", "error": "", "length": 2} and document("last")["length"] == 3
    assert document("no") == {"file": "no.txt", "error": "no.txt is refused"} and document("bad")["error"] == "no text"
    assert "no.txt: no answer: no.txt is refused" in capsys.readouterr().out


def test_all_are_refused(ask):
    with pytest.raises(UserError, match="2 of 2 predictions failed"):
        ask(a=b"!", b=b"!")
    assert not ask.calls


@pytest.mark.skipif(os.name != "posix", reason="file names are Unicode")
def test_a_name_that_is_no_utf8_is_answered(ask, capsys):
    name = os.fsdecode(b"caf\xe9")
    ask(**{"a": b"1", name: b"22", "z": b"333"})
    assert document(name)["file"] == "caf?.txt" and document("z")["length"] == 3
    assert "caf?.txt: 2 bytes" in capsys.readouterr().out
    with pytest.raises(UserError, match="1 of 1"):
        ask(**{name: b"!"})
    assert document(name)["error"]


def test_progress_is_said_now_and_then(ask, capsys, monkeypatch):
    monkeypatch.setattr(answers, "_INTERVAL", 0.0)
    ask(**{f"t{number}": b"" for number in range(7)})
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and said[0].startswith("3 of 7 done, ") and said[0].endswith(" left")


def test_kinds_left_out_are_said(ask, tmp_path, capsys):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "one.txt").write_text("1")
    (tmp_path / "texts" / "two.doc").write_text("2")
    answers.predict(ask.app, Predict(inputs=("texts",), output="out"))
    assert document("one")["length"] == 1 and "1 file skipped, not ending in .txt" in capsys.readouterr().err


def test_rows_of_another_shape_are_asked_apart_and_many_rows_in_parts(tmp_path, monkeypatch):
    shapes = []

    def signature(inputs):
        shapes.append(inputs["x"].shape)
        return {"y": inputs["x"].sum(axis=1), "error": np.array([b""] * len(inputs["x"]), object)}

    given = {"a": np.ones((2, 3)), "b": np.ones((7, 2)), "c": np.ones((1, 2))}
    room = types.SimpleNamespace(
        PREDICT="sum", KINDS=(".csv",), BATCH=3, request=lambda name: Asked({"x": given[name[:-4]]}),
        present=lambda asked, answer, path: ({"error": "", "rows": [{"error": "", "y": float(y)} for y in answer["y"]]}, ["rows"]))
    monkeypatch.setattr(answers, "_asker", lambda *_: signature)
    monkeypatch.chdir(tmp_path)
    for name in given:
        (tmp_path / f"{name}.csv").write_text("")
    answers.predict(types.SimpleNamespace(task="sums", serving=room), Predict(inputs=("a.csv", "b.csv", "c.csv"), output="out"))
    assert shapes == [(2, 3), (3, 2), (3, 2), (1, 2), (1, 2)]
    assert [len(document(name)["rows"]) for name in given] == [2, 7, 1] and document("b")["rows"][6]["y"] == 2


def test_a_file_that_no_message_has_room_for_is_refused_alone(ask, monkeypatch, tmp_path):
    monkeypatch.setattr(client, "MAX_INPUT_BYTES", 10)
    for name, content in (("a", b"1"), ("large", bytes(11)), ("z", b"333")):
        (tmp_path / f"{name}.txt").write_bytes(content)
    with pytest.raises(UserError, match="1 of 3 predictions failed; the first error: large.txt has .* that a server accepts in one message"):
        answers.predict(ask.app, Predict(inputs=("a.txt", "large.txt", "z.txt"), output="out", server="localhost:1"))
    assert document("a")["length"] == 1 and document("z")["length"] == 3


def test_a_server_that_goes_away_leaves_what_was_answered(ask, monkeypatch):
    signature = answers._asker()

    def failing(inputs):
        if len(ask.calls) == 1:
            raise UserError("no server responds")
        return signature(inputs)

    monkeypatch.setattr(answers, "_asker", lambda *_: failing)
    with pytest.raises(UserError, match="no server responds"):
        ask(**{f"t{number}": b"" for number in range(7)})
    assert document("t2")["length"] == 0 and not os.path.exists(os.path.join("out", "t3.json"))
