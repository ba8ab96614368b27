"""Questions to a knowledge base as arrays: which facts are read, what stands for what, and what a client gets."""
import dataclasses
import functools
import gzip

import numpy as np
import pytest
import tensorflow as tf

import training
from apps.memory_qa import data, key_value, knowledge_reader, serving
from benchmarks import damage
from training.app import App
from training.serving import export

FACTS = [("Up", "directed_by", "Pete Docter"), ("Up", "release_year", "2009"), ("Inside Out", "directed_by", "Pete Docter"),
         ("Inside Out", "release_year", "2015"), ("Coco", "release_year", "2017"), ("Coco", "directed_by", "Lee Unkrich"),
         ("Coco", "has_tags", "up"), ("Pete Docter", "born_in", "Bloomington")]
QUESTIONS = ["who directed [Up]", "when was the film [Coco] released", "which films came out in [2009]"]


@functools.cache  # its graph takes a second
def reader(memories=4, hops=1, facts=tuple(FACTS)):
    return knowledge_reader.Reader(facts, knowledge_reader.vocabulary(facts, QUESTIONS, memories), memories, hops)


def read_facts(it, question):
    """Returns the facts that are read for a question, with names, as a list."""
    keys, relations, values = (part.numpy()[0] for part in it.hashed(it.topic_and_words(tf.constant([question]))[0]))
    names, words = it.names.numpy(), it.vocabulary.words
    return [(names[key].decode(), words[relation], names[value].decode())
            for key, relation, value in zip(keys, relations, values) if relation]


def words_of(it, ids):
    return [it.vocabulary.words[number] for number in ids if number]


def reachable(topic, hops):
    """Returns the doubled facts within so many hops of a topic, found one entity at a time."""
    doubled = [*FACTS, *((value, "!" + relation, subject) for subject, relation, value in FACTS)]
    frontier, visited, found = {topic}, set(), set()
    for _ in range(hops):
        new = {fact for fact in doubled if fact[0] in frontier}
        visited |= frontier
        frontier = {fact[2] for fact in new} - visited
        found |= new
    return found


@pytest.mark.parametrize("hops", [1, 2, 3])
@pytest.mark.parametrize("topic", ["Up", "Pete Docter", "2009", "Coco", "up"])
def test_all_facts_within_the_hops_are_read_once(topic, hops):
    found = read_facts(reader(memories=20, hops=hops), f"about [{topic}]")
    assert len(set(found)) == len(found)
    assert set(found) == reachable(topic, hops)


def test_the_first_hop_comes_first_and_a_full_memory_has_every_relation():
    assert {fact[0] for fact in read_facts(reader(memories=3, hops=2), "about [Pete Docter]")} == {"Pete Docter"}
    many = [("A", "r", str(number)) for number in range(50)] + [("A", "s", "x"), ("B", "t", "A")]
    relations = [fact[1] for fact in read_facts(reader(memories=4, facts=tuple(many)), "about [A]")]
    assert relations == ["!t", "r", "s", "r"]


def test_of_the_next_hop_the_rarest_words_come_first():
    facts = [("A", "r", "many"), ("A", "r", "few"), *((str(number), "s", "many") for number in range(9)), ("few", "s", "z")]
    assert [fact[0] for fact in read_facts(reader(memories=6, hops=2, facts=tuple(facts)), "about [A]")] == [
        "A", "A", "few", "few", "many", "many"]


def test_a_word_that_too_many_facts_share_leads_nowhere(monkeypatch):
    monkeypatch.setattr(knowledge_reader, "MOST_SHARED", 2)
    it = reader.__wrapped__(memories=20, hops=3)
    found = read_facts(it, "about [2009]")
    assert found == [("2009", "!release_year", "Up"), ("Up", "directed_by", "Pete Docter"), ("Up", "release_year", "2009")]
    assert not read_facts(it, "about [Pete Docter]")  # of three facts


def test_markers_stand_for_entities():
    it = reader(memories=6, hops=2)
    read = it(tf.constant(["who directed [Up]"]))
    facts = [words_of(it, fact) for fact in read["story"].numpy()[0]]
    assert facts[:2] == [["<topic>", "directed_by", "<1>"], ["<topic>", "release_year", "<2>"]]
    assert ["<1>", "!directed_by", "<topic>"] in facts and ["<2>", "!release_year", "<topic>"] in facts
    for place, fact in enumerate(facts, 1):  # a marker has the number of the first memory that holds it
        assert fact[2] in {"<topic>", f"<{place}>"} | {other[2] for other in facts[:place - 1]}
    names = [it.names.numpy()[number].decode() for number in read["entities"].numpy()[0]]
    assert names[:3] == ["Up", "Pete Docter", "2009"]
    assert [sentence.decode() for sentence in it.sentences(read).numpy()[0]][:2] == [
        "Up directed_by Pete Docter", "Up release_year 2009"]


@pytest.mark.parametrize("question, topic, words", [
    ("who directed [Up]", "Up", "who directed <topic>"),
    ("when was the film [coco] released?", "Coco", "when was the film <topic> released"),
    ("who directed [up]", "up", "who directed <topic>"),  # the tag, not the film
    ("which films came out in pete docter released", "Pete Docter", "which films came out in <topic> released"),
    ("Coco, when was the film released", "Coco", "<topic> when was the film released"),
    ("who directed [Nobody]", "", "who directed <topic>"),
    ("who directed nobody", "", "who directed <unknown>"),
    ("who directed []", "", "who directed <topic>"),
    ("", "", ""),
    ("?", "", ""),
])
def test_the_topic_is_found(question, topic, words):
    it = reader()
    read = it(tf.constant([question, "who directed [Up]"]))
    assert it.names.numpy()[read["entities"].numpy()[0, 0]].decode() == topic
    assert " ".join(words_of(it, read["question"].numpy()[0])) == words
    assert bool(topic) == read["story"].numpy()[0].any()


def test_a_row_alone_is_read_as_in_a_batch():
    it = reader(memories=6, hops=2)
    together = it(tf.constant(QUESTIONS))
    for row, question in enumerate(QUESTIONS):
        for name, value in it(tf.constant([question])).items():
            np.testing.assert_array_equal(value[0], together[name][row])


# data sets

def films(tmp_path, people=40):
    """Writes a tiny metaqa folder and returns the settings: films, each with a director and a year."""
    facts = [(f"Film {number}", relation, value) for number in range(people)
             for relation, value in (("directed_by", f"Person {number % 11}"), ("release_year", str(1990 + number % 7)))]
    questions = [f"{text} [Film {number}]\t{answer}" for number in range(people)
                 for text, answer in (("who directed", f"Person {number % 11}"), ("when was", str(1990 + number % 7)))]
    files = {"kb": ["|".join(fact) for fact in facts], "1-hop/qa_dev": questions[:60], "1-hop/qa_test": questions[60:]}
    files |= {f"1-hop/qa_{part}_qtype": ["a_to_b"] * len(files[f"1-hop/qa_{part}"]) for part in ("dev", "test")}
    for name, lines in files.items():
        path = tmp_path / "manual" / "metaqa" / f"{name}.txt.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return App("memory_qa").config(
        "key_value", dataset="metaqa/1-hop", memory_size=5, hops=1, embedding_size=16, batch_size=6, epochs=30,
        learning_rate=0.02, data_dir=str(tmp_path / "prepared"), manual_dir=str(tmp_path / "manual"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Returns settings and Splits of the tiny set."""
    config = films(tmp_path_factory.mktemp("films"))
    return config, data.datasets(config)


def whole(batches):
    parts = list(batches.as_numpy_iterator())
    return tf.nest.map_structure(lambda *arrays: np.concatenate(arrays), *parts)


def test_splits_hold_the_markers_of_the_answers(made):
    _, splits = made
    words = splits.spec.info.words
    assert splits.spec.inputs["story"].shape.as_list() == [None, 5, 3]
    for batches, count in ((splits.train(0, 0, tf.distribute.InputContext()), 54), (splits.validation, 6), (splits.test, 20)):
        inputs, targets = whole(batches)
        assert len(targets["answer"]) == count
        for story, question, answer in zip(inputs["story"], inputs["question"], targets["answer"]):
            relation = "directed_by" if words.index("directed") in question else "release_year"
            topic, row = words.index("<topic>"), words.index(relation)
            assert [fact[2] for fact in story if fact[0] == topic and fact[1] == row] == [answer]


def test_training_markers_are_exchanged_and_others_are_not(made):
    _, splits = made
    first = splits.spec.info.words.index("<topic>")
    train, test = (whole(batches)[0]["story"][:, :2, 2] for batches in (
        splits.train(0, 0, tf.distribute.InputContext()), splits.test))
    assert set(train.ravel()) == set(range(first + 1, first + 6))
    assert set(test.ravel()) == {first + 1, first + 2}


def test_an_answer_that_is_not_read_is_wrong_and_not_trained_on(made):
    config, _ = made
    splits = data.datasets(dataclasses.replace(config, memory_size=1))
    _, targets = whole(splits.test)
    assert (targets["answer"] == 1).mean() == 0.5 and (targets["answers"].any(axis=1) == (targets["answer"] != 1)).all()
    _, targets = whole(splits.train(0, 0, tf.distribute.InputContext()))
    assert (targets["answer"] != 1).all()


def test_facts_are_no_questions(made):
    config, _ = made
    with pytest.raises(training.UserError, match="metaqa/kb contains no questions about a knowledge base"):
        data.datasets(dataclasses.replace(config, dataset="metaqa/kb"))


# serving

def test_the_export_answers_from_the_facts_in_it(made, tmp_path):
    config, splits = made
    model = key_value.build_model(config, splits.spec, steps=270)
    step = tf.function(model.train_step)
    for epoch in range(config.epochs):
        for batch in splits.train(epoch, 0, tf.distribute.InputContext()):
            step(batch)
    signatures = serving.signatures(model, config, splits.spec.info)
    request = {"story": [b""], "question": [b"who directed [Film 1]"]}
    version = export.export(tmp_path / "models", model, signatures, warmup={name: request for name in signatures})
    questions = ["who directed [Film 33]", "when was film 38", "who directed [Nobody]", "", "word " * 40, "who [Person 3] quux"]
    answer = export.answer(version, {"story": [b""] * 6, "question": [question.encode() for question in questions]}, "explain")
    assert [found.decode() for found in answer["answer"][:2]] == ["Person 0", "1993"]
    assert answer["score"][0] > 0.5 and (answer["score"][2:5] == 0).all()
    assert [bool(error) for error in answer["error"]] == [False, False, True, True, True, False]
    assert b"names no entity" in answer["error"][2] and b"no words" in answer["error"][3] and b"more than 32" in answer["error"][4]
    assert answer["unknown_words"][5] == b"quux"
    assert answer["attention"].shape == (6, 1, 5)
    assert answer["sentences"][0, answer["attention"][0, 0].argmax()] == b"Film 33 directed_by Person 0"
    assert not answer["attention"][2].any() and set(answer["sentences"][2]) == {b""}
    good = {"story": b"", "question": b"who directed [Film 33]"}
    hostile = [*damage.hostile_questions(60, seed=0), *({"story": b"", "question": question} for question in (
        b"[Film 33]" * 100, b"film 33 " * 5, b"[\xff\xfe Film 33]", b"who directed [Film 33\0]", b"]Film 33[", b"[" * 5000, b"Film 33 " * 200_000))]
    report = damage.check_export(functools.partial(export.answer, version, signature="explain"), hostile, good)
    assert not report.failures and report.counts["refused"] > 20 and sum(report.counts.values()) == 67
