"""The simulated world: a reader that knows nothing of the simulator finds every answer again."""
import collections
import os
import re
import subprocess
import sys

import pytest

import training
from training.data import sources
from training.datasets import simulated_world

SPLITS = ("train", "test")
STORIES = 60  # of each kind and split, in the tests below
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday")
PLURALS = {"bear": "bears", "crow": "crows", "fox": "foxes", "hare": "hares"}

WALK = re.compile(r"(?:(?:Then|Next|Later|After that) )?(\w+)(?: and (\w+))? (?:went|walked|hurried|ran) to the (\w+)\.")
TAKE = re.compile(r"(\w+) (?:picked up|took|grabbed) the (\w+)\.")
PUT = re.compile(r"(\w+) (?:put down|dropped|set down) the (\w+)\.")
GIVE = re.compile(r"(\w+) (?:handed|gave|passed) the (\w+) to (\w+)\.")
DAY = re.compile(r"(?:On (?P<first>\w+) )?(?P<who>\w+) (?:went|walked|hurried|ran) to the (?P<place>\w+)(?: on (?P<last>\w+))?\.")


@pytest.fixture(scope="module")
def stories():
    """Returns {(split, kind): list of stories, each a list of (sentences, question, answer, supporting)}."""
    return {(split, kind): [simulated_world.story_of(split, kind, index) for index in range(STORIES)]
            for split in SPLITS for kind in simulated_world.KINDS}


def asked(stories, kind):
    return [question for split in SPLITS for story in stories[split, kind] for question in story]


# the reader

def read_town(sentences):
    """Returns (place of each person, things each person holds in the order in which they came, trail of each thing)."""
    place, held, trail = {}, collections.defaultdict(list), collections.defaultdict(list)
    subjects = []
    for sentence in sentences:
        if match := WALK.fullmatch(sentence):
            who = [name for name in match.groups()[:2] if name]
            if who[0] not in ("she", "he", "they"):
                subjects = who
            assert (len(subjects) == 2) == (who[0] == "they" or len(who) == 2), sentence
            if who[0] in ("she", "he"):
                assert who[0] == {"Anna": "she", "Clara": "she", "Hugo": "he", "Oscar": "he"}[subjects[0]]
            for person in subjects:
                assert place.get(person) != match[3], "nobody walks to the place where they are"
                place[person] = match[3]
                for thing in held[person]:
                    trail[thing].append(match[3])
        elif match := TAKE.fullmatch(sentence):
            person, thing = match.groups()
            assert not any(thing in things for things in held.values())
            assert trail[thing] in ([], [*trail[thing][:-1], place[person]]), "a thing is taken where it lies"
            trail[thing] = trail[thing] or [place[person]]
            held[person].append(thing)
        elif match := PUT.fullmatch(sentence):
            held[match[1]].remove(match[2])
        elif match := GIVE.fullmatch(sentence):
            assert match[1] != match[3] and place[match[1]] == place[match[3]]
            held[match[1]].remove(match[2])
            held[match[3]].append(match[2])
        else:
            raise AssertionError(f"the reader does not know {sentence!r}")
    return place, held, trail


def answer_town(sentences, question):
    place, held, trail = read_town(sentences)
    if match := re.fullmatch(r"Where is ([A-Z]\w+)\?", question):
        return place[match[1]]
    if match := re.fullmatch(r"Where is the (\w+)\?", question):
        return trail[match[1]][-1]
    if match := re.fullmatch(r"Where was the (\w+) before the (\w+)\?", question):
        assert trail[match[1]].count(match[2]) == 1, "only one answer may be correct"
        return trail[match[1]][trail[match[1]].index(match[2]) - 1]
    if match := re.fullmatch(r"Is (\w+) in the (\w+)\?", question):
        return "yes" if place[match[1]] == match[2] else "no"
    if match := re.fullmatch(r"How many things is (\w+) holding\?", question):
        return ("none", "one", "two", "three")[len(held[match[1]])]
    match = re.fullmatch(r"What is (\w+) holding\?", question)
    return ",".join(held[match[1]]) or "nothing"


def answer_week(sentences, question):
    visits = collections.defaultdict(dict)
    for sentence in sentences:
        match = DAY.fullmatch(sentence)
        assert bool(match["first"]) != bool(match["last"])
        visits[match["who"]][DAYS.index(match["first"] or match["last"])] = match["place"]
    person, place = re.fullmatch(r"Where was (\w+) before the (\w+)\?", question).groups()
    days = [day for day, where in visits[person].items() if where == place]
    assert len(days) == 1, "only one answer may be correct"
    return visits[person][days[0] - 1]


def answer_wood(sentences, question):
    kinds, feared = {}, {}
    for sentence in sentences:
        if match := re.fullmatch(r"(\w+) is a (\w+)\.", sentence):
            kinds[match[1]] = match[2]
        else:
            match = re.fullmatch(r"(\w+) hide from (\w+)\.", sentence)
            feared[match[1].lower()] = match[2]
    return feared[PLURALS[kinds[re.fullmatch(r"What does (\w+) hide from\?", question)[1]]]]


READERS = {kind: {"time-reasoning": answer_week, "basic-deduction": answer_wood}.get(kind, answer_town)
           for kind in simulated_world.KINDS}


@pytest.mark.parametrize("kind", simulated_world.KINDS)
def test_an_independent_reader_finds_every_answer(stories, kind):
    for sentences, question, answer, _ in asked(stories, kind):
        assert READERS[kind](sentences, question) == answer, (sentences, question)


@pytest.mark.parametrize("kind", [kind for kind in simulated_world.KINDS if kind != "three-supporting-facts"])
def test_the_supporting_sentences_alone_give_the_answer(stories, kind):
    for sentences, question, answer, supporting in asked(stories, kind):
        assert len(set(supporting)) == len(supporting) and max(supporting) < len(sentences)
        needed = [sentences[place] for place in sorted(supporting)]
        if kind in ("counting", "lists-sets"):
            check_handling(sentences, question, needed)
        elif kind == "two-supporting-facts":
            check_whereabouts(question, answer, needed)
        else:
            assert READERS[kind](needed, question) == answer


def check_handling(sentences, question, needed):
    """The sentences needed are those in which the person gets or gives up something, all of them."""
    person = re.search(r"is (\w+) holding", question)[1]
    assert needed == [sentence for sentence in sentences
                      if re.search(rf"\b{person}\b", sentence) and not WALK.fullmatch(sentence)]


def check_whereabouts(question, answer, needed):
    """One sentence says who had the thing in hand last, the other where that person went."""
    thing = re.search(r"the (\w+)\?", question)[1]
    handling = [sentence for sentence in needed if f"the {thing}" in sentence]
    walks = [WALK.fullmatch(sentence) for sentence in needed if sentence not in handling]
    assert len(handling) == len(walks) == 1
    assert handling[0].split()[0] == walks[0][1] and walks[0][3] == answer


def test_three_facts_give_the_holder_of_the_thing_and_the_two_places_in_turn(stories):
    for sentences, question, answer, supporting in asked(stories, "three-supporting-facts"):
        thing, place = re.fullmatch(r"Where was the (\w+) before the (\w+)\?", question).groups()
        got, came, left = supporting
        taken, to, origin = TAKE.fullmatch(sentences[got]), WALK.fullmatch(sentences[came]), WALK.fullmatch(sentences[left])
        assert taken[2] == thing and taken[1] == to[1] == origin[1]
        assert (origin[3], to[3]) == (answer, place)
        assert max(got, left) < came
        # between them nobody puts the thing down, and the person walks nowhere else
        assert not any(WALK.fullmatch(each) and each.startswith(f"{taken[1]} ") for each in sentences[left + 1:came])
        assert not any(PUT.fullmatch(each) and f"the {thing}." in each for each in sentences[got + 1:came])


def test_the_reader_notices_a_wrong_answer():
    story = ["Anna went to the market.", "Anna took the violin.", "Anna ran to the station."]
    assert answer_town(story, "Where was the violin before the station?") == "market"
    assert answer_town(story[:2], "Where is the violin?") == "market"
    with pytest.raises(AssertionError):
        read_town([*story, "Anna flew to the market."])
    with pytest.raises(AssertionError, match="a thing is taken where it lies"):
        read_town([*story, "Anna dropped the violin.", "Hugo went to the market.", "Hugo took the violin."])


# properties of the stories

def test_stories_grow_and_hold_five_questions(stories):
    for (_, kind), found in stories.items():
        for story in found:
            assert len(story) == 5
            for (before, *_), (after, *_) in zip(story, story[1:]):
                assert after[:len(before)] == before
            assert len(story[-1][0]) <= 100


@pytest.mark.parametrize("kind, count", [
    ("single-supporting-fact", 1), ("two-supporting-facts", 2), ("three-supporting-facts", 3), ("yes-no-questions", 1),
    ("basic-coreference", 2), ("conjunction", 1), ("compound-coreference", 2), ("time-reasoning", 2), ("basic-deduction", 2)])
def test_tasks_need_as_many_facts_as_their_names_say(stories, kind, count):
    assert {len(supporting) for *_, supporting in asked(stories, kind)} == {count}


def test_answers_are_balanced(stories):
    def shares(kind):
        counts = collections.Counter(answer for _, _, answer, _ in asked(stories, kind))
        return {answer: count / counts.total() for answer, count in counts.items()}

    assert 0.44 < shares("yes-no-questions")["yes"] < 0.56
    for kind in ("single-supporting-fact", "two-supporting-facts", "three-supporting-facts", "basic-coreference",
                 "conjunction", "compound-coreference", "time-reasoning"):
        found = shares(kind)
        assert set(found) == set(simulated_world.PLACES) and 0.1 < min(found.values()) and max(found.values()) < 0.24
    assert set(shares("basic-deduction")) == set(PLURALS.values()) and max(shares("basic-deduction").values()) < 0.35
    found = shares("counting")
    assert set(found) == {"none", "one", "two", "three"} and max(found.values()) < 0.65
    found = shares("lists-sets")
    assert found["nothing"] > 0.1 and sum(share for answer, share in found.items() if "," in answer) > 0.1


def test_the_question_alone_decides_neither_the_answer_nor_its_place(stories):
    """The same question has several answers, and the newest sentence is not always the one that matters."""
    for kind in simulated_world.KINDS:
        answers, last = collections.defaultdict(set), []
        for sentences, question, answer, supporting in asked(stories, kind):
            answers[question].add(answer)
            last.append(len(sentences) - 1 in supporting)
        assert sum(len(found) > 1 for found in answers.values()) > len(answers) / 2, kind
        assert 0.05 < sum(last) / len(last) < 0.95, kind


# the data set

def test_no_story_is_in_both_splits():
    for kind in simulated_world.KINDS:
        stories = {split: {tuple(sentences) for index in range(simulated_world.STORIES[split])
                           for sentences, *_ in simulated_world.story_of(split, kind, index)} for split in SPLITS}
        assert not stories["train"] & stories["test"], kind
        assert len(stories["train"]) > 195, kind  # and they differ within a split


def test_the_builder_writes_the_stories_of_the_simulator(tmp_path, monkeypatch):
    monkeypatch.setattr(simulated_world, "STORIES", {"train": 3, "test": 2})
    prepared = sources.builder("simulated_world", training.Config(data_dir=str(tmp_path)))
    names, ids = prepared.info.features["task"].names, collections.defaultdict(set)
    assert len(names) == 20
    for split, count in simulated_world.STORIES.items():
        wanted = sorted((kind, story, question, answer, tuple(supporting))
                        for kind in simulated_world.KINDS for index in range(count)
                        for story, question, answer, supporting in simulated_world.story_of(split, kind, index))
        found = []
        for example in sources.read(prepared, split).as_numpy_iterator():
            ids[split].add(int(example["story_id"]))
            (answer,) = example["answers"]
            found.append((names[example["task"]], [sentence.decode() for sentence in example["story"]],
                          example["question"].decode(), answer.decode(), tuple(example["supporting"].tolist())))
        assert sorted(found) == wanted
        assert len(ids[split]) == count * len(simulated_world.KINDS)
    assert not ids["train"] & ids["test"]


def test_another_process_makes_the_same_stories(repository):
    program = """
import hashlib
from training.datasets import simulated_world
digest = hashlib.sha256()
for kind in simulated_world.KINDS:
    for index in (7, 3):
        digest.update(repr(simulated_world.story_of("test", kind, index)).encode())
print(digest.hexdigest())
"""
    digests = {subprocess.run(
        [sys.executable, "-c", program], cwd=repository, env=os.environ | {"PYTHONHASHSEED": seed}, check=True,
        capture_output=True, text=True).stdout for seed in ("1", "2")}
    assert len(digests) == 1
