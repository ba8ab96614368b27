"""PathQuestion: the examples that its builder reads from tiny files, and the files that it refuses."""
import gzip
import os
import pathlib

import pytest

import training
from training.data import sources


def line(number):
    return f"what is ann_{number} 's mother 's job ?\tpoet(poet/cook/)\tann_{number}#parents#eve#profession#poet#<end>#poet\n"


FILES = {"PQ-2H.txt": "".join(line(number) for number in range(20)),
         "2H-kb.txt": "ann_1\tparents\teve\neve\tprofession\tpoet\nann_1\tparents\teve\n"}


def written(folder, files):
    """Writes packed files and returns the folder for `--manual-dir`."""
    (folder / "manual" / "pathquestion").mkdir(parents=True)
    for name, content in files.items():
        (folder / "manual" / "pathquestion" / f"{name}.gz").write_bytes(gzip.compress(content.encode()))
    return folder / "manual"


def config(folder, manual):
    return training.Config(data_dir=str(folder / "prepared"), manual_dir=str(manual))


def questions(prepared):
    return {split: sorted(example["question"] for example in sources.read(prepared, split).as_numpy_iterator())
            for split in ("train", "validation", "test")}


def test_questions_are_split_eight_to_one_to_one_and_always_in_the_same_way(tmp_path):
    first = questions(sources.builder("pathquestion/2-hop", config(tmp_path, written(tmp_path, FILES))))
    assert {split: len(part) for split, part in first.items()} == {"train": 16, "validation": 2, "test": 2}
    assert len({question for part in first.values() for question in part}) == 20
    backwards = FILES | {"PQ-2H.txt": "".join(line(number) for number in reversed(range(20)))}
    other = tmp_path / "other"
    assert questions(sources.builder("pathquestion/2-hop", config(other, written(other, backwards)))) == first


def test_the_topic_is_marked_and_the_path_ends_with_the_answer(tmp_path):
    prepared = sources.builder("pathquestion/2-hop", config(tmp_path, written(tmp_path, FILES)))
    for example in sources.read(prepared, "train").as_numpy_iterator():
        topic = example["path"][0].decode()
        assert example["question"].decode() == f"what is [{topic}] 's mother 's job ?"
        assert example["path"].tolist()[1:] == [b"parents", b"eve", b"profession", b"poet"]
        assert example["answers"].tolist() == [b"poet", b"cook"]


def test_each_fact_occurs_once(tmp_path):
    prepared = sources.builder("pathquestion/2-hop-kb", config(tmp_path, written(tmp_path, FILES)))
    assert sorted(fact["object"] for fact in sources.read(prepared, "kb").as_numpy_iterator()) == [b"eve", b"poet"]


@pytest.mark.parametrize("wrong, sentence", [
    ("what is ann 's job ?\tpoet(poet/)\n", "PQ-2H.txt.gz: line 21 does not consist of 3 fields separated by a tab"),
    ("what is ann 's job ?\tpoet\tann#profession#poet\n", r"line 21 has no answers of the form answer\(answer/answer/\): 'poet'"),
    ("what is ann 's job ?\tpoet(poet/)\teve#profession#poet\n", "line 21: the question does not contain the topic 'eve' of the path"),
])
def test_a_faulty_line_is_refused_in_one_sentence(tmp_path, wrong, sentence):
    with pytest.raises(training.UserError, match=sentence) as error:
        sources.builder("pathquestion/2-hop", config(tmp_path, written(tmp_path, FILES | {"PQ-2H.txt": FILES["PQ-2H.txt"] + wrong})))
    assert "\n" not in str(error.value)


def test_pathquestion_has_the_published_numbers(tmp_path, repository):
    manual = pathlib.Path(os.environ.get("SUITE_DATA", repository.parent / "shared" / "data"))
    if not (manual / "pathquestion").is_dir():
        pytest.skip(f"no pathquestion in {manual}: set SUITE_DATA to the folder that holds it")
    for name, counts in {"2-hop": [1526, 191, 191], "3-hop": [4158, 520, 520]}.items():
        prepared = sources.builder(f"pathquestion/{name}", config(tmp_path, manual))
        assert [prepared.info.splits[split].num_examples for split in ("train", "validation", "test")] == counts
    assert sources.builder("pathquestion/2-hop-kb", config(tmp_path, manual)).info.splits["kb"].num_examples == 1211
