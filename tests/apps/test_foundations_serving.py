"""What a client gets for rows of every kind, and what `predict` reads."""
import re

import numpy as np
import pytest
import tensorflow as tf

import training
from apps.foundations import data as tables
from apps.foundations import serving
from training.app import App
from training.serving import export

APP = App("foundations")
SYSTEMS = ("softmax", "naive_bayes", "linear")


def served(model):
    """Returns (the signature as a function, the model, info)."""
    config = APP.config(model)
    splits = tables.datasets(config)
    built = APP.build_model(config, splits.spec, steps=1)
    if model == "naive_bayes":
        built.train_step(next(iter(splits.train(0, 0, tf.distribute.InputContext()))))
    else:
        built.affine.kernel.assign(np.random.default_rng(0).normal(size=built.affine.kernel.shape))
    function, specs = serving.signatures(built, config, splits.spec.info)[serving.PREDICT]
    traced = tf.function(function, input_signature=[specs["features"]])
    return lambda rows: {name: value.numpy() for name, value in traced(tf.constant(rows, tf.float32)).items()}, built, splits


@pytest.mark.parametrize("model", SYSTEMS)
def test_rows_are_answered_as_the_model_does_and_bad_ones_say_why(model):
    answer, built, splits = served(model)
    rows = next(iter(splits.test))[0]["features"][:4].numpy().astype(np.float32)
    rows[2, 1] = np.nan
    found = answer(rows)
    assert [bool(error) for error in found["error"]] == [False, False, True, False]
    assert b"not a finite number" in found["error"][2]
    (outputs,) = built({"features": tf.constant(rows.astype(np.float64))}).values()
    good = [0, 1, 3]
    if model == "linear":
        np.testing.assert_allclose(found["predictions"][good], outputs.numpy()[good, 0], rtol=1e-6)
        assert found["probabilities"].shape == (4, 0) and set(found["class_names"]) == {b""}
    else:
        np.testing.assert_allclose(found["probabilities"][good], tf.nn.softmax(outputs).numpy()[good], rtol=1e-6)
        chosen = outputs.numpy()[good].argmax(axis=1)
        assert found["predictions"][good].tolist() == chosen.tolist()
        assert found["class_names"][good].tolist() == [splits.spec.info.class_names[k].encode() for k in chosen]
        assert found["class_names"][2] == b"" and not found["probabilities"][2].any()
    columns = rows.shape[1]
    for width in (0, columns - 1, columns + 1):
        found = answer(np.ones((2, width)))
        assert found["error"].tolist() == [f"a row has {columns} numbers here, and this one has {width}".encode()] * 2
    assert all(len(value) == 0 for value in answer(np.zeros((0, columns))).values())


def test_every_system_can_replace_another_as_the_next_version(tmp_path):
    for model in SYSTEMS:
        config = APP.config(model)
        splits = tables.datasets(config)
        built = APP.build_model(config, splits.spec, steps=1)
        version = export.export(tmp_path / "foundations", built, serving.signatures(built, config, splits.spec.info),
                                warmup=serving.warmup(config))
    assert version.name == "3"


def test_tables_are_read_with_and_without_a_header(tmp_path):
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    two.write_text("5,6")
    assert serving.request(str(two)).inputs["features"].tolist() == [[5, 6]]
    for encoding in ("utf-8-sig", "utf-16"):
        one.write_text("alcohol,ash\n\n 1.5 ,-2\n3e2,4\n", encoding=encoding)
        found = serving.request(str(one))
        assert found.inputs["features"].dtype == np.float32 and found.inputs["features"].tolist() == [[1.5, -2], [300, 4]]
        assert found.kept == [(3, ""), (4, "")]


@pytest.mark.parametrize("content, sentence", [
    (b"", "table.csv contains no rows of numbers"), (b"a,b\n", "table.csv contains no rows of numbers"),
    (b"\xff\xfe1,2", "table.csv is not UTF-16 text"), ("größe\n1\n".encode("cp1252"), "table.csv is not UTF-8 text"),
    (b"1,2\n\0", "table.csv is not UTF-8 text"), (b'"' + b"1" * 200_000, "table.csv is not a table of comma-separated numbers"),
])
def test_bad_tables_are_refused_in_one_sentence(content, sentence, tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(training.UserError, match=sentence) as error:
        serving.request(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("row, sentence", [
    ("3", "line 2 of .*table.csv has 1 numbers, and most lines have 2"), ("3,4,5", "has 3 numbers"), ("3,", "has '', which is not a finite number"),
    ("3,x", "line 2 of .*table.csv has 'x', which is not a finite number"), ("nan,3", "has 'nan'"), ("-inf,3", "has '-inf'"),
    ("1e39,3", "has '1e39', which is not a finite number"), ("x,y", "has 'x'"),
])
def test_a_bad_row_is_refused_alone(row, sentence, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(f"1,2\n{row}\n5,6\n")
    asked = serving.request(str(path))
    assert asked.inputs["features"][[0, 2]].tolist() == [[1, 2], [5, 6]] and np.isnan(asked.inputs["features"][1]).all()
    assert [bool(error) for _, error in asked.kept] == [False, True, False]
    assert re.search(sentence, asked.kept[1][1])


def test_what_is_no_file_is_refused(tmp_path):
    for path, sentence in ((tmp_path, "Is a directory"), (tmp_path / "no.csv", "no.csv cannot be read")):
        with pytest.raises(training.UserError, match=sentence):
            serving.request(str(path))


def test_an_answer_is_a_document_and_lines(tmp_path):
    answer, *_ = served("naive_bayes")
    path = tmp_path / "table.csv"
    path.write_text("\n".join([",".join(["2"] * 13), ",".join(["2"] * 12 + ["x"]), ",".join(["3"] * 13)]))
    asked = serving.request(str(path))
    document, said = serving.present(asked, answer(asked.inputs["features"]), None)
    first, second, third = document["rows"]
    assert [row["line"] for row in document["rows"]] == [1, 2, 3] and first["prediction"].startswith("class_")
    assert "'x', which is not a finite number" in second["error"] and second["prediction"] is None and not third["error"]
    assert said[0] == "3 rows" and said[1].startswith(f"line 1: {first['prediction']}") and said[2].startswith("line 2: no answer: ")
    path.write_text("1,1,1,1\n1,1,1,1")
    asked = serving.request(str(path))
    assert "no answer: a row has 13 numbers here, and this one has 4" in serving.present(asked, answer(asked.inputs["features"]), None)[1][2]


def test_a_number_that_is_too_large_for_an_answer_is_refused():
    answer, built, splits = served("linear")
    rows = np.ones((3, built.affine.kernel.shape[0]), np.float32)
    rows[1] = 3e38 * np.sign(built.affine.kernel.numpy()[:, 0])
    found = answer(rows)
    assert found["error"].tolist() == [b"", b"a value of this row is too large", b""]
    assert np.isfinite(found["predictions"]).all() and found["predictions"][1] == 0
