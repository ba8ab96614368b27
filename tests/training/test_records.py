"""Records of finished runs and of reports, and the tables that are generated from records."""
import json
import os
import pathlib
import shutil
import subprocess

import pytest

from training import UserError, records, runs, tables

CONFIG = {"model": "retinanet", "dataset": "voc/2007", "seed": 3, "epochs": 2, "learning_rate": 0.01, "data_dir": "/data",
          "manual_dir": "/manual", "runs": "/runs", "saved_models": "/models", "name": "mine", "debug": False,
          "initialize": "runs/detection/first", "backbone": "C:\\runs\\second", "source": "~/images", "anchor_ratios": [0.5, 1.0]}
RESULTS = {"app": "detection", "model": "retinanet", "dataset": "voc/2007", "seed": 3,
           "metrics": {"ap": 0.123456789, "ap50": 1, "loss": float("nan"), "confusion": [[1, 2], [3, 4]],
                       "per_class": {"cell": 0.5, "odd": [1]}, "members": [0.1, 0.2], "reference": "x" * 900},
           "best_epoch": 2, "seconds": {"train": 60.0, "total": 90.0}, "examples_per_second": 12.5, "parameters": 42, "dtype": "float32",
           "replicas": 1, "export": "/models/detection/1", "versions": {"keras": "3.15.1"}}
HARDWARE = {"cores": 2, "processor": "some"}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Makes a run's folder and returns it; a clone and a machine are stood in for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(records, "hardware", lambda: HARDWARE)
    monkeypatch.setattr(records, "commit", lambda: "abc")

    def make(name="first", config=CONFIG, results=RESULTS, app="detection"):
        folder = tmp_path / "runs" / app / name
        folder.mkdir(parents=True)
        for file, content in (("config.json", config), ("results.json", results)):
            if content is not None:
                (folder / file).write_text(content if isinstance(content, str) else json.dumps(content))
        return folder
    return make


def say(*arguments):
    runs.main(["record", *map(str, arguments)])


def kept(name):
    return json.loads(pathlib.Path("results", f"{name}.json").read_text())


def test_a_record_holds_what_others_need_and_no_path(made, capsys):
    say(made())
    assert kept("detection/retinanet-voc-2007-seed-3") == {
        "app": "detection", "model": "retinanet", "dataset": "voc/2007", "seed": 3, "split": "test", "best_epoch": 2, "dtype": "float32",
        "examples_per_second": 12.5, "parameters": 42, "replicas": 1, "minutes": 1.5, "versions": {"keras": "3.15.1"},
        "hardware": HARDWARE, "commit": "abc",
        "metrics": {"ap": 0.123457, "ap50": 1, "per_class": {"cell": 0.5}, "reference": "x" * 200},
        "settings": {"model": "retinanet", "dataset": "voc/2007", "seed": 3, "epochs": 2, "learning_rate": 0.01, "initialize": "first",
                     "backbone": "second", "source": "images", "anchor_ratios": [0.5, 1.0]}}
    text = pathlib.Path("results/detection/retinanet-voc-2007-seed-3.json").read_text()
    assert "/" not in text.replace("voc/2007", "") and capsys.readouterr().out.startswith("written to results")
    say("first", "--force")
    assert pathlib.Path("results/detection/retinanet-voc-2007-seed-3.json").read_text() == text
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"


def test_names_and_groups(made):
    made(results=RESULTS | {"seed": 0})
    say("first")
    say("first", "--name", "other", "--group", "voc")
    assert "group" not in kept("detection/retinanet-voc-2007") and kept("detection/other")["group"] == "voc"


@pytest.mark.parametrize("arguments, words", [
    (["second"], "there is no run second"), (["unfinished"], "is not finished"), (["short"], "cut short by --limit-steps"), (["broken"], "cannot be recorded: results.json"),
    (["empty"], "has no metrics"), (["odd"], "has no metrics"), (["first", "--name", "a/b"], "--name a/b may contain only"),
    (["first", "--name", ".."], "may contain only"), (["first", "--group", ""], "--group  may contain only"),
    (["first", "--name", "taken"], "exists already"), (["../detection/none"], "there is no run")])
def test_what_is_refused(made, arguments, words):
    made()
    made("unfinished", results=None)
    made("short", config=CONFIG | {"limit_steps": 20})
    made("broken", results="{")
    made("empty", results=RESULTS | {"metrics": {"confusion": [[1]]}})
    made("odd", results=RESULTS | {"metrics": [1, 2]})
    say("first", "--name", "taken")
    before = sorted(pathlib.Path("results").rglob("*"))
    with pytest.raises(UserError, match=words):
        say(*arguments)
    assert sorted(pathlib.Path("results").rglob("*")) == before


def test_untrusted_results_make_a_sound_record(made):
    made(results={"metrics": {"ap": 1.0}, "model": ["x"], "dataset": {"a": 1}, "seed": "../../x", "seconds": "long", "versions": 5},
         config={"a": {"b": 1}, "c": float("inf"), "d": [[1], {"x": 2}, None, float("nan")]})
    say("first")
    assert kept("detection/run") == {
        "app": "detection", "split": "test", "metrics": {"ap": 1.0}, "hardware": HARDWARE, "commit": "abc",
        "settings": {"c": "inf", "d": ["[1]", "{'x': 2}", None, "nan"]}}


def test_the_largest_metrics_are_left_out_of_a_record_that_would_be_too_large(made, capsys):
    made(results=RESULTS | {"metrics": {"ap": 0.5, "per_class": {f"class {k}": 0.5 for k in range(2000)}}})
    say("first")
    assert "left out because of their size: per_class" in capsys.readouterr().out
    assert kept("detection/retinanet-voc-2007-seed-3")["metrics"] == {"ap": 0.5}


def report(name, content, app="classification"):
    folder = pathlib.Path("runs", app, name)
    folder.mkdir(parents=True)
    (folder / "depths.json").write_text(json.dumps({"app": app, "verb": "depths"} | content))
    return folder


def test_a_report_is_kept_with_its_lists_and_rows(made):
    report("mine", {"settings": {"dataset": "digits", "seed": 0, "manual_dir": "/m"}, "seconds": 30.0, "configs": {"a": 1},
                    "accuracy": {"1": [0.5, 0.25]}, "curve": list(range(100)), "confusion": [[1]],
                    "rows": [{"kind": "none", "depth": 2, "accuracy": 0.5}, {"kind": "none", "depth": 8, "accuracy": 0.25}]})
    say("mine")
    content = kept("classification/depths-digits")
    assert content["metrics"] == {"accuracy": {"1": [0.5, 0.25]}, "rows": {"none/2": {"accuracy": 0.5}, "none/8": {"accuracy": 0.25}}}
    assert (content["verb"], content["minutes"], content["settings"]) == ("depths", 0.5, {"dataset": "digits", "seed": 0})
    assert "keras" in content["versions"] and "model" not in content


def test_reports_that_are_not_done_or_not_clear(made):
    folder = pathlib.Path("runs/transfer/part")
    folder.mkdir(parents=True)
    (folder / "rows.json").write_text('{"settings": {}, "rows": {"a": {"b": 1}}}')
    with pytest.raises(UserError, match="there is no run part"):
        say("part")
    report("twice", {"a": 1})
    report("twice", {"a": 1}, app="ensembles")
    with pytest.raises(UserError, match="several reports"):
        say("twice")
    say("runs/ensembles/twice", "--name", "one")
    assert kept("ensembles/one")["metrics"] == {"a": 1}
    report("none", {"settings": {}})
    with pytest.raises(UserError, match="has no figures"):
        say("none")


def test_the_table_of_memory_qa_is_one_file(made):
    pathlib.Path("runs/memory_qa").mkdir(parents=True)
    pathlib.Path("runs/memory_qa/table.json").write_text(
        json.dumps({"settings": {"dataset": "babi", "seed": 0}, "rows": {"counting": {"error": 0.5}}}))
    for name in ("table", "runs/memory_qa/table.json"):
        say(name, "--force")
        assert kept("memory_qa/table-babi")["metrics"] == {"rows": {"counting": {"error": 0.5}}}


def test_hardware_names_the_processor_and_the_flags_that_matter(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "_output", lambda *command: "")
    (tmp_path / "cpuinfo").write_text("processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: Some CPU\nflags\t\t: fpu avx2 amx_bf16\n\n"
                                      "processor\t: 1\nmodel name\t: Other\n")
    found = records.hardware(tmp_path / "cpuinfo")
    assert found == {"processor": "Some CPU (family 25, model 17)", "flags": ["amx_bf16", "avx2"], "cores": found["cores"]}
    assert found["cores"] >= 1 and records.hardware(tmp_path / "none")["cores"] == found["cores"]
    monkeypatch.setattr(records, "_output", lambda *command: "One GPU\nTwo GPU")
    assert records.hardware(tmp_path / "none")["gpus"] == ["One GPU", "Two GPU"]


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_the_commit_says_whether_programs_differ_from_it(tmp_path):
    def git(*words):
        subprocess.run(["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b.c", *words], check=True, capture_output=True,
                       env={name: value for name, value in os.environ.items() if not name.startswith("GIT_")})
    (tmp_path / "apps").mkdir()
    (tmp_path / "apps" / "x.py").write_text("1")
    assert records.commit(tmp_path) is None
    git("init", "-q")
    assert records.commit(tmp_path) is None
    git("add", ".")
    git("commit", "-qm", "x", "--no-verify")
    (tmp_path / "notes.txt").write_text("no program")
    clean = records.commit(tmp_path)
    assert len(clean) == 40
    (tmp_path / "apps" / "x.py").write_text("2")
    assert records.commit(tmp_path) == f"{clean}-dirty"


TABLES = """
[machines.B]
processors = ["some"]
cores = 2
[tables.t]
columns = ["who", "ap", "published", "machine", "minutes"]
cells = { who = "<name>", ap = "{ap:.2f}", published = "{published}", machine = "{machine}", minutes = "{time}" }
[[tables.t.rows]]
record = "detection/one"
against = "paper"
name = "A"
summary = { name = "B" }
[[tables.t.rows]]
record = "detection/group"
name = "{model} {median ap:.3f} {metrics.ap:.0%}"
[tables.short]
summarizes = "t"
columns = ["who", "ap"]
[tables.keys]
record = "detection/one"
against = { x = "paper" }
columns = ["key", "value", "other", "list", "paper"]
keys = ["a.b", "c"]
cells = { key = "<key>", value = "{per.<key>:.1f}", other = "{per.<key>.x?}", list = "{list.0}, {list:.0f}", paper = "{published.x.ap}" }
[tables.all]
each = "published"
columns = ["name", "source"]
cells = { name = "<against>: {published}", source = "<source>" }
"""


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results" / "detection"
    folder.mkdir(parents=True)
    one = {"model": "m|n", "metrics": {"ap": 0.5, "per": {"a.b": 1, "c": 2.0}, "list": [3, 1, 2]}, "hardware": HARDWARE, "minutes": 3.14}
    (folder / "one.json").write_text(json.dumps(one))
    for seed, ap in ((1, 0.25), (0, 0.75), (2, 0.5)):
        (folder / f"g{seed}.json").write_text(json.dumps(one | {
            "group": "group", "seed": seed, "metrics": {"ap": ap}, "shared_machine": True, "minutes": 10 + seed,
            "hardware": HARDWARE | {"cores": 1}}))
    (tmp_path / "results" / "published.toml").write_text('[paper]\ntext = "{published.ap:.1f} AP"\nap = 0.9\nsource = "S"\n')
    (tmp_path / "results" / "tables.toml").write_text(TABLES)
    return lambda: tables.shelf("results")


def test_tables_from_records(shelf):
    made = {name: tables.table(name, shelf()).splitlines() for name in ("t", "short", "keys", "all")}
    assert made["t"] == ["| who | ap | published | machine | minutes |", "| --- | --- | --- | --- | --- |",
                         "| A | 0.50 | 0.9 AP | B | 3.1 |",
                         "| m\\|n 0.500 50% (75, 25, 50) | 0.50 (0.75, 0.25, 0.50) | – | B, 1 core | ≤ 12 |"]
    assert made["short"][2:] == ["| B | 0.50 |"]
    assert made["keys"][2:] == ["| a.b | 1.0 | – | 3, 2 (3, 1, 2) | 0.9 |", "| c | 2.0 | – | 3, 2 (3, 1, 2) | 0.9 |"]
    assert made["all"][2:] == ["| paper: 0.9 AP | S |"]


@pytest.mark.parametrize("old, new, words", [
    ('record = "detection/one"\nagainst = "paper"', 'record = "detection/two"', "no record and no group detection/two"),
    ('against = "paper"', 'against = "article"', "article"), ("{ap:.2f}", "{ap75:.2f}", "there is no ap75"),
    ("{ap:.2f}", "{ap:.2q}", "ValueError"), ("{ap:.2f}", "{hardware.processor.x}", "there is no x")])
def test_a_table_says_what_is_wrong_with_it(shelf, old, new, words):
    pathlib.Path("results/tables.toml").write_text(TABLES.replace(old, new))
    with pytest.raises(UserError, match=f"table t, row .*{words}"):
        tables.table("t", shelf())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, True, [0.5, None]])
def test_a_figure_that_is_no_finite_number_is_refused(shelf, value):
    pathlib.Path("results/detection/one.json").write_text(json.dumps({"metrics": {"ap": value}, "hardware": HARDWARE, "minutes": 1}))
    with pytest.raises(UserError, match="is not a finite number"):
        tables.table("t", shelf())


def test_documents_are_written_and_checked(shelf, capsys):
    document = pathlib.Path("PAGE.md")
    document.write_text("before\n<!-- table: short -->\nold\n<!-- end -->\nbetween\n<!-- table: all -->\n<!-- end -->\nafter\n")
    with pytest.raises(UserError, match="tables in PAGE.md are out of date"):
        runs.main(["tables", "--check", "--documents", "PAGE.md"])
    assert "old" in document.read_text()
    runs.main(["tables", "--documents", "PAGE.md"])
    assert document.read_text() == ("before\n<!-- table: short -->\n| who | ap |\n| --- | --- |\n| B | 0.50 |\n<!-- end -->\nbetween\n"
                                    "<!-- table: all -->\n| name | source |\n| --- | --- |\n| paper: 0.9 AP | S |\n<!-- end -->\nafter\n")
    runs.main(["tables", "--check", "--documents", "PAGE.md"])
    assert capsys.readouterr().out.splitlines() == ["written: PAGE.md", "all tables are up to date"]


@pytest.mark.parametrize("text, words", [
    ("<!-- table: short -->\n<!-- table: all -->\n<!-- end -->", "needs a line of its own"), ("<!-- end -->", "needs a line of its own"),
    ("<!-- table: none -->\n<!-- end -->", "there is no table none")])
def test_a_document_with_wrong_marks_is_refused(shelf, text, words):
    with pytest.raises(UserError, match=words):
        tables.rendered(text, shelf())


@pytest.mark.parametrize("file, content, words", [
    ("detection/one.json", "{", "one.json"), ("tables.toml", "[", "tables.toml cannot be read"), ("published.toml", "a = ", "published.toml")])
def test_files_at_fault_are_named(shelf, file, content, words):
    pathlib.Path("results", file).write_text(content)
    with pytest.raises(UserError, match=words):
        shelf()
    with pytest.raises(UserError, match="missing.md cannot be read"):
        pathlib.Path("results", file).write_text("{}" if file.endswith("json") else "")
        runs.main(["tables", "--documents", "missing.md"])
