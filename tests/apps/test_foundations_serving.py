"""What a client gets for rows of every kind, and what `predict` reads."""
import json

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
    assert b"no finite number" in found["error"][2]
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
    one.write_text("\ufeffalcohol,ash\n\n 1.5 ,-2\n3e2,4\n", encoding="utf-8")
    two.write_text("5,6")
    found = serving.request([one, two])["features"]
    assert found.dtype == np.float32 and found.tolist() == [[1.5, -2], [300, 4], [5, 6]]


@pytest.mark.parametrize("content, sentence", [
    (b"", "table.csv has no row of numbers"), (b"a,b\n", "table.csv has no row of numbers"),
    (b"1,2\n3\n", "line 2 of .*table.csv has 1 numbers, and line 1 of .*table.csv has 2"),
    (b"1,2\n3,x\n", "line 2 of .*table.csv has 'x', which is no finite number"), (b"1,\n", "has '', which is no finite number"),
    (b"1,nan\n", "has 'nan', which is no finite number"), (b"1,1e39\n", "has '1e39', which is no finite number"),
    (b"\xff\xfe1,2", "table.csv is no text of comma-separated numbers"),
])
def test_bad_tables_are_refused_in_one_sentence(content, sentence, tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(training.UserError, match=sentence) as error:
        serving.request([path])
    assert "\n" not in str(error.value)


def test_what_is_no_file_is_refused(tmp_path):
    for paths, sentence in (([], "at least one file"), ([tmp_path], "is a folder"), ([tmp_path / "no.csv"], "no.csv cannot be read")):
        with pytest.raises(training.UserError, match=sentence):
            serving.request(paths)


def test_answers_are_written_and_said(tmp_path, capsys):
    answer, *_ = served("naive_bayes")
    paths = [tmp_path / "a" / "table.csv", tmp_path / "b" / "table.csv"]
    for path, rows in zip(paths, (2, 1)):
        path.parent.mkdir()
        path.write_text("\n".join(",".join(["2"] * 13) for _ in range(rows)))
    serving.present(paths, answer(serving.request(paths)["features"]), tmp_path / "out")
    first, second = (json.loads((tmp_path / "out" / f"{name}.json").read_text()) for name in ("table", "table-2"))
    assert [row["line"] for row in first] == [1, 2] and len(second) == 1 and first[0]["prediction"].startswith("class_")
    said = capsys.readouterr().out
    assert f"{paths[0]} line 2: {first[1]['prediction']}" in said and "3 answers in" in said
    serving.present(paths, answer(np.ones((3, 4))), tmp_path / "wrong")
    assert "no answer: a row has 13 numbers here, and this one has 4" in capsys.readouterr().out
