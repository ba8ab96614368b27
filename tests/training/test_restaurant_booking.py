"""The simulated dialogues: their turns, calls, facts and offers."""
import os
import subprocess
import sys

import pytest

import training
from training.data import sources
from training.datasets import restaurant_booking as booking

SPLITS = ("train", "validation", "test", "test_oov")


@pytest.fixture(scope="module")
def dialogs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(booking, "DIALOGS", dict.fromkeys(SPLITS, 60))
        return {split: list(booking.simulated(split)) for split in SPLITS}


def of(speaker, dialogs):
    return [text for dialog in dialogs for who, text in dialog if who == speaker]


def test_user_and_bot_take_turns(dialogs):
    for dialog in (dialog for split in SPLITS for dialog in dialogs[split]):
        spoken = [speaker for speaker, _ in dialog if speaker != "kb"]
        assert spoken == ["user", "bot"] * (len(spoken) // 2)
        for (before, text), (speaker, _) in zip(dialog, dialog[1:]):
            assert speaker != "kb" or before == "kb" or text.startswith("api_call ")


def test_everything_the_bot_says_is_a_candidate(dialogs):
    candidates = booking.candidates(booking.restaurants())
    assert len(candidates) == len(set(candidates))
    responses = {text for split in SPLITS for text in of("bot", dialogs[split])}
    assert responses <= set(candidates)
    for phrase in (booking.GREETING, booking.CHANGED, booking.NOTHING_FOUND, booking.NEXT, booking.BOOKED, booking.FAREWELL,
                   *booking.QUESTIONS.values()):
        assert phrase in responses


def test_calls_hold_the_latest_wishes(dialogs):
    """Reads the wishes from the user's words alone."""
    kinds = {word: slot for slot, words in {
        "cuisine": [*booking.CUISINES[True], *booking.CUISINES[False]], "place": [*booking.PLACES[True], *booking.PLACES[False]],
        "party": booking.PARTIES, "price": booking.PRICES}.items() for word in words}
    calls = 0
    for dialog in (dialog for split in SPLITS for dialog in dialogs[split]):
        wish = {}
        for speaker, text in dialog:
            if speaker == "user":
                wish |= {kinds[word]: word for word in text.split() if word in kinds}
            elif text.startswith("api_call ") and speaker == "bot":
                assert text == booking.call(wish[slot] for slot in booking.SLOTS)
                calls += 1
    assert calls > 4 * 60


def test_facts_answer_the_call_and_offers_descend_by_rating(dialogs):
    by_name = {each["name"]: each for each in booking.restaurants()}
    refused = 0
    for dialog in (dialog for split in SPLITS for dialog in dialogs[split]):
        facts, offers = {}, []
        for speaker, text in dialog:
            if text.startswith("api_call ") and speaker == "bot":
                cuisine, place, _, price = text.split()[1:]
                facts, offers = {}, []
            elif speaker == "kb" and text != booking.NO_RESULT:
                name, relation, value = text.split()
                facts.setdefault(name, {})[relation] = value
                assert by_name[name][relation] == value
                assert (by_name[name]["cuisine"], by_name[name]["place"], by_name[name]["price"]) == (cuisine, place, price)
            elif text.startswith(booking.PROPOSAL.format("")):
                offers.append(text.split()[-1])
        ordered = sorted(facts, key=lambda name: -int(facts[name]["rating"]))
        assert offers == ordered[:len(offers)] and offers
        refused += len(offers) > 1
        for text in of("bot", [dialog]):
            for kind, phrase in booking.DETAILS.items():
                if text.startswith(phrase.format("")):
                    assert text == phrase.format(facts[offers[-1]][kind])
    assert refused > 60


def test_the_unseen_split_shows_other_cuisines_places_and_restaurants(dialogs):
    seen = {word for split in SPLITS[:3] for dialog in dialogs[split] for _, text in dialog for word in text.split()}
    unseen = {word for dialog in dialogs["test_oov"] for _, text in dialog for word in text.split()}
    new = {*booking.CUISINES[False], *booking.PLACES[False]}
    assert not new & seen and new <= unseen
    names = {each["name"]: each["seen"] for each in booking.restaurants()}
    assert not any(names[word] for word in unseen & set(names))
    assert all(names[word] for word in seen & set(names))
    assert not {*booking.CUISINES[True], *booking.PLACES[True]} & unseen


def test_another_process_simulates_the_same(repository):
    program = """
import hashlib
from training.datasets import restaurant_booking as booking
booking.DIALOGS = dict.fromkeys(booking.DIALOGS, 20)
dialogs = str([list(booking.simulated(split)) for split in booking.DIALOGS]) + str(booking.restaurants())
print(hashlib.sha256(dialogs.encode()).hexdigest())
"""
    digests = {subprocess.run(
        [sys.executable, "-c", program], cwd=repository, env=os.environ | {"PYTHONHASHSEED": seed}, check=True,
        capture_output=True, text=True).stdout for seed in ("1", "2")}
    assert len(digests) == 1


def test_the_builder_gives_dialogues_candidates_and_facts(tmp_path, monkeypatch):
    monkeypatch.setattr(booking, "DIALOGS", dict.fromkeys(SPLITS, 3))
    config = training.Config(data_dir=str(tmp_path))
    prepared = sources.builder("restaurant_booking", config)
    for split in SPLITS:
        found = list(sources.read(prepared, split).as_numpy_iterator())
        spoken = [text for dialog in booking.simulated(split) for who, text in dialog if who == "bot"]
        assert [example["response"].decode() for example in found] == spoken
        assert all(example["history"]["speaker"][-1] == 0 for example in found)
    facts = list(sources.read(sources.builder("restaurant_booking/kb", config), "kb").as_numpy_iterator())
    assert [tuple(fact[name].decode() for name in ("subject", "relation", "object")) for fact in facts] == \
        booking.triples(booking.restaurants())
    candidates = sources.read(sources.builder("restaurant_booking/candidates", config), "candidates").as_numpy_iterator()
    assert [each["response"].decode() for each in candidates] == booking.candidates(booking.restaurants())
