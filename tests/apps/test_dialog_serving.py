"""Dialogues as strings: the answers, the errors, and that a bad dialogue does not change the answers to others."""
import functools

import numpy as np
import pytest
import tensorflow as tf

from apps.dialog import serving
from benchmarks import damage
from tests.apps import small_dialogs
from training import UserError
from training.serving import export

GOOD = "user: hello\nbot: what food\nuser: greek in oslo please"


@pytest.fixture(scope="module", params=small_dialogs.APP.systems)
def version(request, tmp_path_factory):
    model, config = small_dialogs.build(request.param)
    return export.export(tmp_path_factory.mktemp("saved_models") / "dialog", model,
                         serving.signatures(model, config, small_dialogs.INFO), warmup=serving.warmup(config))


def answer(version, *histories, signature="serving_default"):
    given = [history if isinstance(history, bytes) else history.encode() for history in histories]
    return export.answer(version, {"history": given}, signature)


def test_the_signatures(version):
    described = export.describe(version)
    assert described["serving_default"] == {
        "inputs": {"history": ("string", (None,))},
        "outputs": {"error": ("string", (None,)), "response": ("string", (None,)), "score": ("float32", (None,))}}
    assert described["explain"]["outputs"] | described["serving_default"]["outputs"] == described["explain"]["outputs"]
    assert described["explain"]["outputs"]["attention"] == ("float32", (None, None, None))
    assert described["explain"]["outputs"]["lines"] == ("string", (None, None))


def test_a_response_is_a_candidate(version):
    found = answer(version, GOOD, "user: <SILENCE>")
    assert all(response.decode() in small_dialogs.INFO.candidates for response in found["response"])
    assert found["error"].tolist() == [b"", b""] and np.isfinite(found["score"]).all()


@pytest.mark.parametrize(("history", "words"), [
    ("", "history is empty"),
    (" \n \r\n", "history is empty"),
    ("hello", "must begin with user:, bot: or kb:"),
    ("user: hello\nso what\nuser: hello", "must begin with"),
    ("user: hello\nbot: what food", "must begin with user:"),
    ("user: hello\nkb: bell food greek", "must begin with user:"),
    ("bot: hello\nuser:", "has no words"),
    ("user:   ", "has no words"),
    ("user: a\n" * 200_000, "more than 1,000,000 bytes"),
])
def test_a_refused_dialogue_does_not_change_the_answers_to_others(version, history, words):
    found = answer(version, GOOD, history, GOOD)
    alone = answer(version, GOOD)
    assert words in found["error"][1].decode() and "\n" not in found["error"][1].decode()
    assert found["response"].tolist() == [alone["response"][0], b"", alone["response"][0]]
    np.testing.assert_allclose(found["score"], [alone["score"][0], 0, alone["score"][0]], rtol=1e-5)


def test_an_answer_does_not_depend_on_the_other_rows(version):
    histories = [GOOD, "user: hello", GOOD + "\nbot: api_call greek oslo\nkb: bell phone 555-1\nuser: your number please"]
    together = answer(version, *histories, signature="explain")
    for row, history in enumerate(histories):
        alone = answer(version, history, signature="explain")
        assert alone["response"][0] == together["response"][row]
        np.testing.assert_allclose(alone["attention"][0], together["attention"][row], atol=1e-6)


def test_an_empty_batch_is_answered(version):
    assert all(len(value) == 0 for value in answer(version, signature="explain").values())


@pytest.mark.parametrize("history", [
    "user: qwertz uiopue",  # none of its words is known
    "user: " + "hello " * 5000,
    b"user: \xff\xfe hello \x00",
    "user: \U0001f600 ???",
    "  USER: hello".lower() + "\r\n  bot:what food\r\n\r\nuser:hello\r\n",
])
def test_odd_utterances_are_answered(version, history):
    found = answer(version, history)
    assert found["error"][0] == b"" and found["response"][0]


def test_hostile_dialogues_are_answered_or_refused_and_change_no_neighbor(version):
    report = damage.check_export(functools.partial(export.answer, version, signature="explain"),
                                 damage.hostile_dialogues(80, seed=1), {"history": GOOD.encode()})
    assert not report.failures and min(report.counts["answered"], report.counts["refused"]) > 10


def test_a_long_dialogue_loses_its_oldest_lines(version):
    lines = ["user: hello", "bot: what food", "user: greek", "bot: what place", "user: oslo", "bot: hello"]
    long, short = (answer(version, "\n".join([*kept, "user: please"]), signature="explain") for kept in (lines, lines[2:]))
    assert long["response"] == short["response"]
    assert [line.decode() for line in long["lines"][0]] == lines[2:]


def test_attention_belongs_to_the_lines():
    model, config = small_dialogs.build(hops=3)
    function, _ = serving.signatures(model, config, small_dialogs.INFO)["explain"]
    found = function(tf.constant([GOOD, "user: hello", "nothing"]))
    attention = found["attention"].numpy()
    assert attention.shape == (3, 3, small_dialogs.MEMORIES)
    shares = attention[0, :, :2].sum(axis=1)  # the rest belongs to the empty places
    assert (shares > 0.2).all() and (shares < 1).all()
    assert not attention[0, :, 2:].any() and not attention[1:].any()  # nothing before: nothing is read
    read = serving.most_read({name: value.numpy() for name, value in found.items()}, 0)
    assert len(read) == 3 and {line["line"] for line in read[0]} == {"user: hello", "bot: what food"}
    assert read[0][0]["attention"] >= read[0][1]["attention"]


def test_requests_are_files(tmp_path):
    (tmp_path / "one.txt").write_text(GOOD)
    assert serving.request(str(tmp_path / "one.txt")).inputs == {"history": [GOOD.encode()]}
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "marked.txt").write_text(GOOD, encoding=encoding)
        assert serving.request(str(tmp_path / "marked.txt")).inputs == {"history": [GOOD.encode()]}
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "latin.txt").write_text("user: größer", encoding="latin-1")
    (tmp_path / "long.txt").write_text("user: a\n" * 200_000)
    for path, words in ((tmp_path / "missing.txt", "missing.txt cannot be read"), (tmp_path, "Is a directory"),
                        (tmp_path / "binary.txt", "binary.txt is not UTF-16 text"), (tmp_path / "latin.txt", "latin.txt is not UTF-8 text"),
                        (tmp_path / "long.txt", "long.txt has more than 1,000,000 bytes")):
        with pytest.raises(UserError, match=words):
            serving.request(str(path))


def test_an_answer_is_a_document_and_lines(version):
    found = answer(version, GOOD, "hello", signature="explain")
    (one, said), (two, refused) = (serving.present(None, {name: value[row:row + 1] for name, value in found.items()}, None) for row in range(2))
    assert one["response"] in small_dialogs.INFO.candidates and one["error"] == "" and one["response"] in said[0]
    assert two["response"] == "" and "must begin" in two["error"] and refused == [f"no response: {two['error']}"]
