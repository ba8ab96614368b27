"""MetaQA: the examples that its builder reads from tiny files, and the files that it refuses."""
import gzip
import os
import pathlib

import pytest

import training
from training.data import sources
from training.datasets import knowledge_bases

FILES = {
    "kb.txt": "Up|directed_by|Pete Docter\nUp|release_year|2009\nUp|directed_by|Pete Docter\n$|in_language|Fran\u00e7ais\n",
    "1-hop/qa_dev.txt": "who directed [Up]\tPete Docter\nwhen was [Up] released\t2009\n",
    "1-hop/qa_dev_qtype.txt": "movie_to_director\nmovie_to_year\n",
    "1-hop/qa_test.txt": "what is [[REC]] about\tzombies|spain\r\n",
    "1-hop/qa_test_qtype.txt": "movie_to_tags\n",
}


def written(folder, files):
    """Writes packed files and returns the folder for `--manual-dir`."""
    for name, content in files.items():
        path = folder / "manual" / "metaqa" / f"{name}.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else gzip.compress(content.encode()))
    return folder / "manual"


def config(tmp_path, manual):
    return training.Config(data_dir=str(tmp_path / "prepared"), manual_dir=str(manual) if manual else None)


def examples(prepared, split):
    return list(sources.read(prepared, split).as_numpy_iterator())


def test_questions_have_answers_and_the_path_to_them(tmp_path):
    prepared = sources.builder("metaqa/1-hop", config(tmp_path, written(tmp_path, FILES)))
    assert {split: part.num_examples for split, part in prepared.info.splits.items()} == {"train": 2, "test": 1}
    train = {example["question"]: example for example in examples(prepared, "train")}
    assert train[b"who directed [Up]"]["answers"].tolist() == [b"Pete Docter"]
    assert train[b"when was [Up] released"]["path"].tolist() == [b"movie", b"year"]
    test, = examples(prepared, "test")
    assert test["question"] == b"what is [[REC]] about"
    assert test["answers"].tolist() == [b"zombies", b"spain"]


def test_each_fact_occurs_once(tmp_path):
    prepared = sources.builder("metaqa/kb", config(tmp_path, written(tmp_path, FILES)))
    facts = sorted(tuple(fact[part].decode() for part in ("subject", "relation", "object")) for fact in examples(prepared, "kb"))
    assert facts == [("$", "in_language", "Fran\u00e7ais"), ("Up", "directed_by", "Pete Docter"), ("Up", "release_year", "2009")]


@pytest.mark.parametrize("name, content, sentence", [
    ("1-hop/qa_dev.txt", "who directed [Up] Pete Docter\nwhen\t2009\n", "qa_dev.txt.gz: line 1 does not consist of 2 fields separated by a tab"),
    ("1-hop/qa_dev.txt", "who directed [Up]\tPete Docter\nwhen was Up released\t2009\n", r"line 2 contains no topic in \[brackets\]"),
    ("1-hop/qa_dev.txt", "who directed [Up]\t||\nwhen was [Up] released\t2009\n", "line 1 has no answer"),
    ("1-hop/qa_dev.txt", "", "qa_dev.txt.gz is empty"),
    ("1-hop/qa_dev.txt", b"no gzip", "qa_dev.txt.gz cannot be read as a gzip file"),
    ("1-hop/qa_dev.txt", gzip.compress(b"some text " * 1000, mtime=0)[:60], "qa_dev.txt.gz cannot be read as a gzip file"),
    ("1-hop/qa_dev.txt", gzip.compress(b"\xff\xfe", mtime=0), "qa_dev.txt.gz is not UTF-8 text: invalid start byte at byte 0"),
    ("1-hop/qa_dev.txt", "[x]" * 20_000 + "\ty\n[x]\ty\n", "line 1 has 60,002 characters"),
    ("1-hop/qa_dev_qtype.txt", "movie_to_director\n", "has 2 questions, but qa_dev_qtype.txt.gz has 1 types"),
    ("1-hop/qa_test_qtype.txt", None, "qa_test_qtype.txt.gz does not exist: put kb.txt"),
])
def test_a_faulty_file_is_refused_in_one_sentence(tmp_path, name, content, sentence):
    files = {key: value for key, value in (FILES | {name: content}).items() if value is not None}
    with pytest.raises(training.UserError, match=sentence) as error:
        sources.builder("metaqa/1-hop", config(tmp_path, written(tmp_path, files)))
    assert "\n" not in str(error.value)


def test_a_fact_has_three_parts(tmp_path):
    manual = written(tmp_path, {"kb.txt": "Up|directed_by\n"})
    with pytest.raises(training.UserError, match="kb.txt.gz: line 1 does not consist of 3 fields separated by |"):
        sources.builder("metaqa/kb", config(tmp_path, manual))


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(knowledge_bases, "MAX_FILE_BYTES", 50)
    with pytest.raises(training.UserError, match="unpacks to more than 50 bytes"):
        sources.builder("metaqa/kb", config(tmp_path, written(tmp_path, FILES)))


def test_metaqa_needs_its_folder(tmp_path):
    with pytest.raises(training.UserError, match="metaqa/1-hop needs --manual-dir: put kb.txt"):
        sources.builder("metaqa/1-hop", config(tmp_path, None))


def test_metaqa_has_the_published_numbers(tmp_path, repository):
    manual = pathlib.Path(os.environ.get("SUITE_DATA", repository.parent / "shared" / "data"))
    if not (manual / "metaqa").is_dir():
        pytest.skip(f"no metaqa in {manual}: set SUITE_DATA to the folder that holds it")
    prepared = sources.builder("metaqa/1-hop", config(tmp_path, manual))
    assert [prepared.info.splits[split].num_examples for split in ("train", "test")] == [9992, 9947]
