"""Talking in the terminal: whose turn it is, and what an API call finds."""
import dataclasses
import io
import sys

import pytest

from apps.dialog import chat, serving
from apps.dialog.knowledge import NO_RESULT, Knowledge
from apps.dialog.systems import Chat
from tests.apps import small_dialogs
from training import UserError, cli
from training.datasets import restaurant_booking as booking


@pytest.fixture(scope="module")
def knowledge():
    return Knowledge(small_dialogs.INFO.knowledge, small_dialogs.INFO.candidates)


def test_a_call_finds_all_that_has_every_value(knowledge):
    assert knowledge.answer("api_call greek oslo") == ["bell food greek", "bell place oslo", "bell phone 555-1"]
    assert knowledge.answer("api_call thai oslo") == ["lotus food thai", "lotus place oslo", "lotus phone 555-2"]


def test_a_relation_stands_for_any_value(knowledge):
    assert len(knowledge.answer("api_call food oslo")) == 6
    assert len(knowledge.answer("api_call R_cuisine oslo")) == 6
    assert len(knowledge.answer("api_call food place")) == 6


def test_nothing_found(knowledge):
    assert knowledge.answer("api_call peruvian oslo") == [NO_RESULT]
    assert knowledge.answer("api_call greek lima") == [NO_RESULT]


def test_places_of_which_the_knowledge_base_knows_nothing_are_no_condition():
    kept = booking.restaurants()
    facts = [" ".join(fact) for fact in booking.triples(kept)]
    found = Knowledge(facts, booking.candidates(kept)).answer("api_call greek oslo two budget")
    names = {fact.split()[0] for fact in found}
    assert names == {each["name"] for each in kept if (each["cuisine"], each["place"], each["price"]) == ("greek", "oslo", "budget")}
    assert len(found) == len(names) * len(booking.RELATIONS) > 0


def test_the_facts_of_the_simulator_are_those_that_a_call_finds(monkeypatch):
    """The terminal puts the same facts into the history as training had there, in another order."""
    monkeypatch.setattr(booking, "DIALOGS", booking.DIALOGS | {"test": 40})
    kept = booking.restaurants()
    known = Knowledge([" ".join(fact) for fact in booking.triples(kept)], booking.candidates(kept))
    calls = 0
    for talk in booking.simulated("test"):
        for place, (speaker, text) in enumerate(talk):
            if speaker == "bot" and text.startswith("api_call "):
                facts = []
                while talk[place + 1 + len(facts)][0] == "kb":
                    facts.append(talk[place + 1 + len(facts)][1])
                assert sorted(known.answer(text)) == sorted(facts)
                calls += 1
    assert calls >= 40


def scripted(*responses):
    """Returns (a responder that gives these responses in turn, the histories that it was called with)."""
    asked = []

    def respond(lines):
        asked.append(list(lines))
        response = responses[len(asked) - 1]
        return {"response": response, "score": 0.5, "error": "", "read": [[{"line": lines[0], "attention": 1.0}]]}

    return respond, asked


def test_a_call_is_looked_up_and_the_bot_goes_on(knowledge):
    respond, asked = scripted("what food", "api_call greek oslo", "here is 555-1")
    talk = chat.Talk(respond, knowledge)
    assert talk.say("hello") == ["bot: what food  (0.50)"]
    facts = [f"kb: {fact}" for fact in knowledge.answer("api_call greek oslo")]
    assert talk.say("greek in  oslo") == ["bot: api_call greek oslo  (0.50)", *facts, "bot: here is 555-1  (0.50)"]
    assert asked[1] == ["user: hello", "bot: what food", "user: greek in oslo"]
    assert asked[2] == [*asked[1], "bot: api_call greek oslo", *facts, "user: <SILENCE>"]


def test_calls_without_end_are_stopped(knowledge):
    respond, asked = scripted(*["api_call greek oslo"] * 5)
    talk = chat.Talk(respond, knowledge)
    talk.say("hello")
    assert len(asked) == 2


def test_an_empty_line_is_silence_and_what_is_read_is_shown(knowledge):
    respond, asked = scripted("hello")
    assert chat.Talk(respond, knowledge).say("", attention=True) == ["bot: hello  (0.50)", "  read 100%  user: <SILENCE>"]
    assert asked == [["user: <SILENCE>"]]


def test_a_refusal_does_not_enter_the_history(knowledge):
    def respond(lines):
        return {"response": "", "score": 0.0, "error": "no", "read": []}

    talk = chat.Talk(respond, knowledge)
    assert talk.say("x") == ["no response: no"] and talk.history == []


def test_the_terminal_answers_as_the_export_does(knowledge):
    model, config = small_dialogs.build()
    respond = chat.responder(model, config, small_dialogs.INFO)
    found = respond(["user: hello", "bot: what food", "user: greek"])
    function, _ = serving.signatures(model, config, small_dialogs.INFO)["serving_default"]
    assert found["response"] == function(["user: hello\nbot: what food\nuser: greek"])["response"].numpy()[0].decode()
    assert len(found["read"]) == config.hops and found["error"] == ""
    assert respond([])["error"]


def test_no_run_to_talk_with(tmp_path, capsys):
    with pytest.raises(UserError, match="no finished run"):
        chat.run(small_dialogs.APP, Chat(runs=str(tmp_path)))
    with pytest.raises(SystemExit) as stopped:
        cli.main("apps.dialog", ["chat", "--runs", str(tmp_path)])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("error: there is no finished run of dialog")


def test_a_pipe_talks_too(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\n\nbye"))
    assert list(chat._typed_lines()) == ["hello", "", "bye"]
    assert {field.name for field in dataclasses.fields(Chat)} == {"run", "attention", "runs", "debug"}


def test_what_is_no_utf8_is_said(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\n\udcff\udcfe\n"))  # as in Python's UTF-8 mode
    typed = chat._typed_lines()
    assert next(typed) == "hello"
    with pytest.raises(UserError, match="the input is not valid UTF-8 text"):
        next(typed)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe\n"), encoding="utf-8"))
    with pytest.raises(UserError, match="the input is not valid UTF-8 text"):
        next(chat._typed_lines())
