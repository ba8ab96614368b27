"""Dialogue bAbI from its archive: the examples that the builder gives, and the files that it refuses."""
import io
import os
import pathlib
import tarfile

import pytest

import training
from training.data import sources
from training.datasets import dialog_babi

DIALOG = ("1 hi\thello what can i help you with today\n"
          "2 <SILENCE>\tapi_call italian paris two cheap\n"
          "3 resto_1 R_phone resto_1_phone\n"
          "4 i love that\tgreat let me do the reservation\n")
FILES = {
    "candidates": "1 hello what can i help you with today\n1 api_call italian paris two cheap\n1  you are welcome\n",
    "task6-dstc2-candidates": "1 Hello , welcome\n1  you are welcome\n",
    "kb-all": "1 resto_1 R_phone\tresto_1_phone\n1 resto_1 R_cuisine\titalian\n",
    "task6-dstc2-kb": "1 prezzo R_location west\n",
    "task1-API-calls-trn": DIALOG + "\n" + DIALOG, "task1-API-calls-dev": DIALOG + "\n", "task1-API-calls-tst": DIALOG,
    "task1-API-calls-tst-OOV": DIALOG.replace("italian", "korean"),
    "task6-dstc2-trn": "1 <SILENCE>\tHello , welcome\n2 \t you are welcome\n3 api_call no result\n4 bye\t you are welcome\n",
    "task6-dstc2-dev": "1 hi\tHello , welcome\n", "task6-dstc2-tst": "1 hi\tHello , welcome\n",
}


def manual(tmp_path, files=FILES):
    """Writes an archive of the given files and returns the settings that read it."""
    folder = tmp_path / "manual" / "dialog-babi"
    folder.mkdir(parents=True)
    with tarfile.open(folder / "dialog-bAbI-tasks.tgz", "w:gz") as archive:
        for name, text in files.items():
            content = text if isinstance(text, bytes) else text.encode()
            member = tarfile.TarInfo(f"dialog-bAbI-tasks/dialog-babi-{name}.txt")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return training.Config(data_dir=str(tmp_path / "prepared"), manual_dir=str(tmp_path / "manual"))


def examples(prepared, split):
    return list(sources.read(prepared, split).as_numpy_iterator())


def history(example):
    """Returns the (speaker, text) of each line before the response."""
    return [(int(speaker), text.decode()) for speaker, text in zip(example["history"]["speaker"], example["history"]["text"])]


def test_one_example_for_each_turn_of_the_bot(tmp_path):
    prepared = sources.builder("dialog_babi/task1", manual(tmp_path))
    assert {name: split.num_examples for name, split in prepared.info.splits.items()} == {
        "train": 6, "validation": 3, "test": 3, "test_oov": 3}
    found = examples(prepared, "train")
    assert [(int(e["dialog_id"]), int(e["turn"])) for e in found] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert history(found[0]) == [(0, "hi")]
    assert history(found[2]) == [
        (0, "hi"), (1, "hello what can i help you with today"), (0, "<SILENCE>"), (1, "api_call italian paris two cheap"),
        (2, "resto_1 R_phone resto_1_phone"), (0, "i love that")]
    assert found[1]["response"] == b"api_call italian paris two cheap"
    assert examples(prepared, "test_oov")[1]["response"] == b"api_call korean paris two cheap"


def test_real_dialogues_keep_blanks_and_have_no_unseen_split(tmp_path):
    prepared = sources.builder("dialog_babi/task6", manual(tmp_path))
    assert "test_oov" not in prepared.info.splits
    found = examples(prepared, "train")
    assert [e["response"] for e in found] == [b"Hello , welcome", b" you are welcome", b" you are welcome"]
    assert history(found[2])[2:] == [(0, "<SILENCE>"), (1, " you are welcome"), (2, "api_call no result"), (0, "bye")]


def test_candidates_and_knowledge_base_are_further_configurations(tmp_path):
    config = manual(tmp_path)
    found = examples(sources.builder("dialog_babi/candidates", config), "candidates")
    assert [e["response"] for e in found] == [
        b"hello what can i help you with today", b"api_call italian paris two cheap", b" you are welcome"]
    facts = examples(sources.builder("dialog_babi/kb", config), "kb")
    assert facts == [{"subject": b"resto_1", "relation": b"R_phone", "object": b"resto_1_phone"},
                     {"subject": b"resto_1", "relation": b"R_cuisine", "object": b"italian"}]
    assert len(examples(sources.builder("dialog_babi/candidates6", config), "candidates6")) == 2
    assert examples(sources.builder("dialog_babi/kb6", config), "kb6")[0]["object"] == b"west"


@pytest.mark.parametrize(("name", "content", "words"), [
    ("task1-API-calls-trn", "hello\tthere\n", "line 1 of dialog-babi-task1-API-calls-trn.txt"),
    ("task1-API-calls-trn", "1 hi\thello\n2 hi\tyou\tthere\n", "line 2 of dialog-babi-task1-API-calls-trn.txt"),
    ("task1-API-calls-trn", "1 hi\t\n", "line 1 of"),
    ("task1-API-calls-trn", b"1 hi\t\xff\xfe\n", "cannot be read as an archive of text files"),
    ("task1-API-calls-tst", None, "does not contain dialog-bAbI-tasks/dialog-babi-task1-API-calls-tst.txt"),
])
def test_faulty_files_are_refused_in_one_sentence(tmp_path, name, content, words):
    files = {each: text for each, text in (FILES | {name: content}).items() if text is not None}
    with pytest.raises(training.UserError, match=words.replace(".", r"\.")) as error:
        sources.builder("dialog_babi/task1", manual(tmp_path, files))
    assert "\n" not in str(error.value)


def test_a_candidate_or_fact_without_its_parts_is_refused(tmp_path):
    config = manual(tmp_path, FILES | {"candidates": "hello\n", "kb-all": "1 resto_1 R_phone\n"})
    for part in ("candidates", "kb"):
        with pytest.raises(training.UserError, match="line 1 of"):
            sources.builder(f"dialog_babi/{part}", config)


def test_a_missing_or_damaged_archive_is_refused(tmp_path):
    with pytest.raises(training.UserError, match="--manual-dir"):
        sources.builder("dialog_babi/task1", training.Config(data_dir=str(tmp_path / "prepared")))
    config = manual(tmp_path)
    archive = tmp_path / "manual" / "dialog-babi" / "dialog-bAbI-tasks.tgz"
    archive.write_bytes(archive.read_bytes()[:300])
    with pytest.raises(training.UserError, match="cannot be read"):
        sources.builder("dialog_babi/task1", config)
    archive.unlink()
    with pytest.raises(training.UserError, match="does not exist"):
        sources.builder("dialog_babi/task1", config)


def test_a_file_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(dialog_babi, "_MOST_BYTES", 100)
    with pytest.raises(training.UserError, match="more than allowed"):
        sources.builder("dialog_babi/task1", manual(tmp_path))


def test_the_published_archive_has_the_published_numbers(tmp_path, repository):
    folder = pathlib.Path(os.environ.get("SUITE_DATA", repository.parent / "shared" / "data"))
    if not (folder / "dialog-babi" / "dialog-bAbI-tasks.tgz").is_file():
        pytest.skip(f"no dialog-babi/dialog-bAbI-tasks.tgz in {folder}: set SUITE_DATA to the folder that holds it")
    config = training.Config(data_dir=str(tmp_path), manual_dir=str(folder))
    sizes = {name: sources.builder(f"dialog_babi/{name}", config).info.splits[name].num_examples
             for name in ("candidates", "kb", "candidates6", "kb6")}
    assert sizes == {"candidates": 4212, "kb": 8400, "candidates6": 2407, "kb6": 649}
    prepared = sources.builder("dialog_babi/task4", config)
    candidates = {e["response"] for e in examples(sources.builder("dialog_babi/candidates", config), "candidates")}
    for split in ("train", "validation", "test", "test_oov"):
        found = examples(prepared, split)
        assert len({int(e["dialog_id"]) for e in found}) == 1000
        assert {e["response"] for e in found} <= candidates
