"""bAbI: the examples that its files become, and the archives that are refused."""
import gzip
import io
import os
import pathlib
import tarfile

import pytest

import training
from training.data import sources
from training.datasets import babi

TRAIN = """1 Mary moved to the bathroom.
2 John went to the hallway.
3 Where is Mary? \tbathroom\t1
4 Mary took the milk there.
5 Mary went back to the office.
6 Where is the milk? \toffice\t4 5
1 The office is north of the kitchen.
2 What is Mary carrying? \tmilk,football\t1
"""
TEST = "1 Sandra moved to the garden.\n2 Where is Sandra? \tgarden\t1\n"


def archive(tmp_path, members, top="tasks_1-20_v1-2"):
    """Writes a folder babi whose archive holds the given members (text, bytes or a TarInfo); returns settings that read it."""
    folder = tmp_path / "manual" / "babi"
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / "tasks_1-20_v1-2.tar.gz", "w:gz") as file:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                file.addfile(content)
                continue
            content = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return training.Config(data_dir=str(tmp_path / "prepared"), manual_dir=str(tmp_path / "manual"))


def both(folder, task=1, train=TRAIN, test=TEST):
    name = f"qa{task}_{babi.TASKS[task - 1]}"
    return {f"{folder}/{name}_train.txt": train, f"{folder}/{name}_test.txt": test}


def every_task(folder):
    return {name: content for task in range(1, 21) for name, content in both(folder, task).items()}


def examples(prepared, split):
    names = prepared.info.features["task"].names
    return sorted((int(example["story_id"]), [sentence.decode() for sentence in example["story"]],
                   example["question"].decode(), [answer.decode() for answer in example["answers"]],
                   example["supporting"].tolist(), names[example["task"]])
                  for example in sources.read(prepared, split).as_numpy_iterator())


def test_questions_hold_the_story_before_them(tmp_path, capsys):
    prepared = sources.builder("babi", archive(tmp_path, every_task("en")))
    assert capsys.readouterr().err == ""  # nothing is left out
    assert prepared.builder_config.name == "en"
    found = [example for example in examples(prepared, "train") if example[-1] == "two-supporting-facts"]
    first, second = sorted({example[0] for example in found})
    assert found == [
        (first, ["Mary moved to the bathroom.", "John went to the hallway."], "Where is Mary?", ["bathroom"], [0],
         "two-supporting-facts"),
        (first, ["Mary moved to the bathroom.", "John went to the hallway.", "Mary took the milk there.",
                 "Mary went back to the office."], "Where is the milk?", ["office"], [2, 3], "two-supporting-facts"),
        (second, ["The office is north of the kitchen."], "What is Mary carrying?", ["milk,football"], [0],
         "two-supporting-facts"),
    ]
    ids = {split: {example[0] for example in examples(prepared, split)} for split in ("train", "test")}
    assert len(ids["train"]) == 40 and len(ids["test"]) == 20 and not ids["train"] & ids["test"]


def test_task_names_are_in_the_order_of_their_numbers():
    assert len(set(babi.TASKS)) == 20
    assert [babi.TASKS[number - 1] for number in (1, 3, 8, 15, 20)] == [
        "single-supporting-fact", "three-supporting-facts", "lists-sets", "basic-deduction", "agents-motivations"]


def test_the_stored_order_does_not_change(tmp_path):
    config = archive(tmp_path, every_task("en"))
    found = [[example["story_id"] for example in sources.read(
        sources.builder("babi", training.Config(data_dir=str(tmp_path / name), manual_dir=config.manual_dir)),
        "train").as_numpy_iterator()] for name in ("one", "two")]
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["en-10k", "hn", "hn-10k", "shuffled", "shuffled-10k"])
def test_each_config_reads_the_folder_of_its_name(tmp_path, name):
    story = f"1 {name} मैरी.\n2 कहाँ?\tघर\t1\n"
    prepared = sources.builder(f"babi/{name}", archive(tmp_path, every_task("en") | every_task("en-valid-10k") | both(name, 4, story)))
    assert [example[1:] for example in examples(prepared, "train")] == [
        ([f"{name} मैरी."], "कहाँ?", ["घर"], [0], "two-arg-relations")]
    assert prepared.info.splits["test"].num_examples == 1


def test_the_larger_set_may_be_read_from_the_folder_with_validation_held_out(tmp_path, capsys):
    members = every_task("en")
    for task in (1, 2, 20):
        members[f"en-valid-10k/qa{task}_train.txt"] = TRAIN * 2
    prepared = sources.builder("babi/en-10k", archive(tmp_path, members))
    assert [prepared.info.splits[split].num_examples for split in ("train", "test")] == [3 * 6, 3]
    assert {example[-1] for example in examples(prepared, "test")} == {babi.TASKS[0], babi.TASKS[1], babi.TASKS[19]}
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "read from en-valid-10k" in printed
    assert "tasks 3 (three-supporting-facts), 4 (two-arg-relations)" in printed and "19 (path-finding) are not in" in printed


def test_a_missing_task_is_left_out_and_reported_once(tmp_path, capsys):
    members = every_task("en")
    del members["en/qa3_three-supporting-facts_test.txt"]
    prepared = sources.builder("babi/en", archive(tmp_path, members))
    assert [prepared.info.splits[split].num_examples for split in ("train", "test")] == [19 * 3, 19]
    assert capsys.readouterr().err == (
        "babi/en: task 3 (three-supporting-facts) is not in the archive and will be skipped\n")


def test_other_members_are_ignored(tmp_path):
    link = tarfile.TarInfo("tasks_1-20_v1-2/en/qa2_two-supporting-facts_train.txt")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    members = both("en") | both("en/../../elsewhere", 3) | {
        "link": link, "en/qa21_more_train.txt": TRAIN, "en/notes.txt": b"\xff", "en-valid/qa1_train.txt": b"\xff"}
    prepared = sources.builder("babi", archive(tmp_path, members))
    assert {example[-1] for example in examples(prepared, "train")} == {"single-supporting-fact"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manual", "prepared"]


@pytest.mark.parametrize("text, sentence", [
    ("1 A.\n3 B?\tc\t1\n", r"line 2: .* with the number 2 or 1, not '3 B\?\\tc\\t1'"),
    ("2 A.\n", "line 1: .* with the number 1, not"),
    ("1 A.\nB?\tc\t1\n", "line 2: .* the number 2 or 1, not"),
    ("1 A.\n2 B?\tc\n", "line 2: a question must be followed by a tab, an answer"),
    ("1 A.\n2 B?\t\t1\n", "line 2: a question must be followed by"),
    ("1 A.\n2 B?\tc\t2\n", "line 2: '2' are not numbers of earlier statements"),
    ("1 A.\n2 B?\tc\t1\n3 D?\tc\t2\n", "line 3: '2' are not numbers of earlier statements"),
    ("1 A.\n1 B.\n2 B?\tc\tone\n", "line 3: 'one' are not numbers of earlier statements"),
    ("1 A.\n", "contains no question"),
    ("", "contains no question"),
    (b"1 \xff.\n", "is not UTF-8 text: invalid start byte at byte 2"),
    ("".join(f"{number} A.\n" for number in range(1, 1003)), "line 1001: a story has more than 1,000 statements"),
])
def test_a_faulty_file_is_refused_in_one_sentence(tmp_path, text, sentence):
    with pytest.raises(training.UserError, match=f"qa1_single-supporting-fact_test.txt.*{sentence}") as error:
        sources.builder("babi", archive(tmp_path, both("en", test=text)))
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "prepared").rglob("dataset_info.json"))


def test_a_config_whose_folder_is_not_there_is_refused(tmp_path):
    config = archive(tmp_path, every_task("en"))
    for name in ("hn", "hn-10k", "en-10k", "shuffled-10k"):
        with pytest.raises(training.UserError, match=f"does not contain the folder tasks_1-20_v1-2/{name}: use .* as published"):
            sources.builder(f"babi/{name}", config)
    with pytest.raises(training.UserError, match="babi has no config 'en10k'; did you mean babi/en-10k"):
        sources.builder("babi/en10k", config)


def test_a_folder_without_a_whole_task_is_refused(tmp_path):
    members = every_task("en")
    config = archive(tmp_path, {name: text for name, text in members.items() if name.endswith("_train.txt")})
    with pytest.raises(training.UserError, match="no task of en with both a training file and a test file"):
        sources.builder("babi", config)


def test_a_file_that_is_not_an_archive_is_refused(tmp_path):
    config = archive(tmp_path, both("en"))
    path = tmp_path / "manual" / "babi" / "tasks_1-20_v1-2.tar.gz"
    whole = path.read_bytes()
    for content in (b"no archive", gzip.compress(b"no archive" * 100), whole[:len(whole) // 2], b""):
        path.write_bytes(content)
        with pytest.raises(training.UserError, match="cannot be read as a tar.gz file"):
            sources.builder("babi", config)
    path.unlink()
    with pytest.raises(training.UserError, match="tasks_1-20_v1-2.tar.gz does not exist: specify the folder"):
        sources.builder("babi", config)
    with pytest.raises(training.UserError, match="babi needs --manual-dir: specify the folder that contains babi/tasks_1-20"):
        sources.builder("babi", training.Config(data_dir=config.data_dir))


def test_sizes_are_bounded(tmp_path, monkeypatch):
    config = archive(tmp_path, both("en", train=TRAIN * 500) | {"README.txt": "text " * 40_000})
    monkeypatch.setattr(babi, "MAX_FILE_BYTES", 50_000)
    with pytest.raises(training.UserError, match=f"qa1_single-supporting-fact_train.txt unpacks to {len(TRAIN) * 500:,} bytes"):
        sources.builder("babi", config)
    monkeypatch.setattr(babi, "MAX_FILE_BYTES", 2 ** 26)
    monkeypatch.setattr(babi, "MAX_ARCHIVE_BYTES", 150_000)  # members that are not read count too
    with pytest.raises(training.UserError, match="unpacks to more than 150,000 bytes"):
        sources.builder("babi", config)


def test_a_long_header_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(babi, "MAX_FILE_BYTES", 50_000)
    header = tarfile.TarInfo("tasks_1-20_v1-2/en/qa1_single-supporting-fact_train.txt")
    header.pax_headers = {"comment": "x" * 100_000}
    config = archive(tmp_path, {"header": header} | both("en"))
    with pytest.raises(training.UserError, match="contains a member of"):
        sources.builder("babi", config)


# the real archive

@pytest.fixture(scope="module")
def published(repository):
    manual = pathlib.Path(os.environ.get("SUITE_DATA", repository.parent / "shared" / "data"))
    path = manual / "babi" / "tasks_1-20_v1-2.tar.gz"
    if not path.is_file():
        pytest.skip(f"no babi/tasks_1-20_v1-2.tar.gz in {manual}: set SUITE_DATA to the folder that holds it")
    return path


@pytest.mark.parametrize("name", ["en", "en-10k"])
def test_babi_holds_what_its_authors_published(published, name):
    files = babi._files(published, name)
    tasks, whole = list(files["test"]), list(files["train"].values())[0][0].startswith(f"tasks_1-20_v1-2/{name}/")
    assert tasks == (list(range(20)) if whole else [task for task in range(20) if task != 2])
    for split, parts in files.items():
        for task, (source, content) in parts.items():
            found = list(babi.questions(content, source))
            usual = 1000 if split == "test" or name == "en" else 10_000 if whole else 9000
            assert abs(len(found) - usual) <= 5, source  # two tasks are cut at the end of a story
            for story, question, answer, supporting, _, _ in found:
                assert question.endswith("?") and supporting and all(0 <= place < len(story) for place in supporting)
            if task == 0:  # the one supporting statement holds the answer and the person of the question
                for story, question, answer, (place,), _, _ in found:
                    assert story[place].endswith(f" {answer}.") and story[place].split()[0] in question
