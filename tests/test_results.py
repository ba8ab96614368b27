"""The kept records of results/, and the generated tables of the documents."""
import json
import math
import pathlib
import re

import pytest

from apps.__main__ import catalogue
from training import records, tables
from training.config import Config

ROOT = pathlib.Path(__file__).resolve().parents[1]
KEPT = tables.shelf(ROOT / "results")
FILES = sorted((ROOT / "results").glob("**/*.json"))
DOCUMENTS = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in tables.documents(tables.DOCUMENTS, ROOT)}
WITHOUT_APP = ("benchmarks", "checks")
"""folders of records that are of no application"""


@pytest.mark.parametrize("name", DOCUMENTS)
def test_tables_are_up_to_date(name):
    assert tables.rendered(DOCUMENTS[name], KEPT) == DOCUMENTS[name], "run python -m apps runs tables"


def shown(kind):
    return sorted(name for text in DOCUMENTS.values() for name in re.findall(rf"^<!-- {kind}: (.*?) -->$", text, re.MULTILINE))


def test_every_table_is_shown():
    assert shown("table") == sorted(KEPT.tables)
    apps = catalogue()
    assert shown("systems") == sorted(apps)
    assert shown("signatures") == sorted(name for app in apps.values() for name in app.export_names())
    verbs = [f"{task} {verb}" for task, app in apps.items() for verb, kind in app.verbs.items() if not issubclass(kind, Config)]
    assert shown("settings") == sorted(["shared", *apps, *verbs])


def test_records_are_small_sorted_and_plain():
    assert len(FILES) == len(KEPT.records) > 0
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert len(text.encode()) <= records.LARGEST, path
        assert text == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n", path
        assert not re.search(r'"(~|/|[A-Za-z]:\\\\)|/(root|home|Users|work|tmp)/', text), f"{path} holds a path"


def test_every_number_is_finite():
    def numbers(value):
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return [value] if isinstance(value, (int, float)) else [number for part in parts for number in numbers(part)]

    for name, record in KEPT.records.items():
        assert numbers(record["metrics"]) and all(map(math.isfinite, numbers(record))), name


def test_every_record_is_of_something_that_is_there():
    for name, record in KEPT.records.items():
        folder = name.partition("/")[0]
        if folder in WITHOUT_APP:
            assert folder == "checks" or (ROOT / "benchmarks" / record["benchmark"]).is_file(), name
            continue
        assert record["app"] == folder and (ROOT / "apps" / folder / "__init__.py").is_file(), name
        module = record.get("model") or record["verb"]
        assert list((ROOT / "apps" / folder).glob(f"**/{module}.py")), f"{name}: apps/{folder} has no {module}.py"


def test_no_record_is_of_a_quick_check():
    assert not [name for name, record in KEPT.records.items() if (record.get("settings") or {}).get("limit_steps")]


def test_every_published_figure_has_its_source_and_is_shown():
    for name, entry in KEPT.published.items():
        assert entry["text"] and entry["source"] and entry["comparable"], name
    used = [against for table in KEPT.tables.values() for row in (table, *table.get("rows", [])) if (against := row.get("against"))]
    assert {name for each in used for name in (each.values() if isinstance(each, dict) else [each])} == set(KEPT.published)


def test_the_first_result_of_the_readme_is_the_record():
    metrics = KEPT.records["detection/faster_rcnn-digit_scenes"]["metrics"]
    assert f"    test      ap {metrics['ap']:.4f}  ap50 {metrics['ap50']:.4f}  …" in DOCUMENTS["README.md"].splitlines()
