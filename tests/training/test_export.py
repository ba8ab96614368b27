"""What is exported must answer as the model does, appear whole and break no client; see test_detection_serving too."""
import os
import pathlib
import shutil
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import rewriter_config_pb2
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from training import UserError
from training.serving import export, quiet


class Scale(keras.Model):
    def build(self, input_shape=None):
        self.factor = self.add_weight(name="factor", shape=(), initializer=keras.initializers.Constant(3.0))
        self.built = True


def scale_model():
    model = Scale()
    model.build()
    return model


def scale_signatures(model, width=2, output="scaled", dtype=tf.float32):
    def serving_default(numbers, words):
        return {output: tf.cast(tf.cast(numbers, tf.float32) * model.factor, tf.bfloat16),
                "words": tf.strings.join([words, "!"])}

    return {"serving_default": (serving_default, {"numbers": tf.TensorSpec((None, width), dtype),
                                                  "words": tf.TensorSpec((None,), tf.string)})}


WARMUP = {"serving_default": {"numbers": np.ones((1, 2), np.float32), "words": [b"a\0"]}}


def export_scale(folder, model=None, force=False, **changes):
    model = model or scale_model()
    warmup = {"serving_default": dict(WARMUP["serving_default"])}
    if "width" in changes:
        warmup["serving_default"]["numbers"] = np.ones((1, changes["width"]), np.float32)
    return export.export(folder, model, scale_signatures(model, **changes), warmup=warmup, force=force,
                         labels={"labels.txt": ["one", "größer"]})


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return export_scale(tmp_path_factory.mktemp("saved_models") / "scale")


def test_answer_names_and_float32(exported):
    answer = export.answer(exported, {"numbers": [[1, 2], [3, 4], [5, 6]], "words": [b"a\0", b"", "ü".encode()]})
    assert set(answer) == {"scaled", "words"}
    assert answer["scaled"].dtype == np.float32
    np.testing.assert_array_equal(answer["scaled"], [[3, 6], [9, 12], [15, 18]])
    assert list(answer["words"]) == [b"a\0!", b"!", "ü!".encode()]
    assert export.describe(exported)["serving_default"] == {
        "inputs": {"numbers": ("float32", (None, 2)), "words": ("string", (None,))},
        "outputs": {"scaled": ("float32", (None, 2)), "words": ("string", (None,))}}


def test_answer_refuses_in_one_sentence(exported, tmp_path):
    with pytest.raises(UserError, match="has no signature embed; it has serving_default"):
        export.answer(exported, {}, signature="embed")
    with pytest.raises(UserError, match="has the inputs numbers, words, not image_bytes"):
        export.answer(exported, {"image_bytes": [b""]})
    with pytest.raises(UserError, match="not an exported version"):
        export.answer(tmp_path, {})
    (tmp_path / "saved_model.pb").write_bytes(b"no model at all")
    with pytest.raises(UserError, match="cannot be loaded"):
        export.answer(tmp_path, {})


def test_extras(exported):
    extras = exported / "assets.extra"
    assert (extras / "labels.txt").read_text(encoding="utf-8") == "one\ngrößer\n"
    records = [prediction_log_pb2.PredictionLog.FromString(record.numpy())
               for record in tf.data.TFRecordDataset(str(extras / "tf_serving_warmup_requests"))]
    request = records[0].predict_log.request
    assert len(records) == 1 and request.model_spec.name == "scale"
    assert request.model_spec.signature_name == "serving_default"
    assert list(tf.make_ndarray(request.inputs["words"])) == [b"a\0"]
    assert tf.make_ndarray(request.inputs["numbers"]).tolist() == [[1.0, 1.0]]


def test_every_signature_needs_a_warmup(tmp_path):
    model = scale_model()
    with pytest.raises(ValueError, match="serving_default"):
        export.export(tmp_path / "scale", model, scale_signatures(model), warmup={"embed": {}})
    assert not (tmp_path / "scale").exists()


def test_versions_count_up_and_only_numbers_are_versions(tmp_path):
    folder = tmp_path / "scale"
    assert export_scale(folder).name == "1"
    for name in ("10", ".12.partial", "007", "best", "20 "):
        (folder / name).mkdir()
    (folder / "30").write_text("a file")
    assert export.newest(folder).name == "10"
    # the empty folder 10 has no signature that could differ
    assert export_scale(folder, force=True).name == "11"
    assert export.newest(folder).name == "11"


def test_newest_of_nothing(tmp_path):
    with pytest.raises(UserError, match="python -m apps.detection"):
        export.newest(tmp_path / "detection")


def test_changed_signatures_are_refused(tmp_path):
    folder = tmp_path / "scale"
    export_scale(folder)
    before = sorted(path for path in tmp_path.rglob("*"))
    for changes, words in [
            (dict(width=3), r"numbers of serving_default was float32 \(any, 2\) and is float32 \(any, 3\)"),
            (dict(output="tripled"), "serving_default no longer has scaled among its outputs"),
            (dict(dtype=tf.int32), "numbers of serving_default was float32 .* and is int32")]:
        with pytest.raises(UserError, match=words):
            export_scale(folder, **changes)
    assert sorted(path for path in tmp_path.rglob("*")) == before
    assert export_scale(folder, width=3, force=True).name == "2"


def test_differences():
    one = {"inputs": {"a": ("float32", (None, 2))}, "outputs": {"b": ("string", (None,))}}
    assert export._difference({"s": one}, {"s": one, "further": one}) is None
    assert "the signature s is gone" == export._difference({"s": one}, {"further": one})
    more = {"inputs": one["inputs"] | {"c": ("float32", ())}, "outputs": one["outputs"]}
    assert "s now has c among its inputs" == export._difference({"s": one}, {"s": more})


@pytest.mark.skipif(not tf.__version__.startswith("2.20."), reason="with a newer TensorFlow the tests export by force")
def test_newer_tensorflow_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tf, "__version__", "2.21.0")
    with pytest.raises(UserError, match="2.21 is newer than the newest TensorFlow Serving, 2.20"):
        export_scale(tmp_path / "scale")
    assert export_scale(tmp_path / "scale", force=True).name == "1"


def test_what_a_server_cannot_run_is_refused(tmp_path):
    model = scale_model()
    inputs = {"x": tf.TensorSpec((None,), tf.float32)}
    warmup = {"serving_default": {"x": [1.0]}}

    def by_python(x):
        return {"y": tf.ensure_shape(tf.py_function(lambda x: 2 * x, [x], tf.float32), (None,))}

    def by_xla(x):
        return {"y": tf.function(lambda x: x * model.factor, jit_compile=True)(x)}

    for function, words in ((by_python, "Python"), (by_xla, "XLA")):
        with pytest.raises(ValueError, match=words):
            export.export(tmp_path / "scale", model, {"serving_default": (function, inputs)}, warmup=warmup)
    assert list((tmp_path / "scale").iterdir()) == []


def test_a_version_is_never_seen_half_and_killed_exports_are_cleaned_up(tmp_path, monkeypatch):
    folder = tmp_path / "scale"
    folder.mkdir()
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    left = folder / f".partial-{export.socket.gethostname()}-{dead.stdout.strip()}"
    left.mkdir()
    other = folder / f".partial-{export.socket.gethostname()}-{os.getppid()}"  # alive
    other.mkdir()
    seen = []
    rename = os.rename

    def watching(source, target):
        seen.append((sorted(os.listdir(folder)), (pathlib.Path(source) / "saved_model.pb").exists(),
                     (pathlib.Path(source) / "assets.extra" / "tf_serving_warmup_requests").exists()))
        rename(source, target)

    monkeypatch.setattr(export.os, "rename", watching)
    export_scale(folder)
    names, has_graph, has_warmup = seen[0]
    assert has_graph and has_warmup and not any(name.isdigit() for name in names)
    assert sorted(os.listdir(folder)) == sorted([other.name, "1"])


def test_a_failed_export_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "_write_extras", fail)
    with pytest.raises(OSError):
        export_scale(tmp_path / "scale")
    assert list((tmp_path / "scale").iterdir()) == []


def test_two_exporters_get_two_versions(tmp_path):
    """Both have seen the same newest version: the second rename fails, and the next number is taken."""
    folder = tmp_path / "scale"
    partials = []
    for name in ("a", "b", "c"):
        partial = folder / f".partial-{name}"
        partial.mkdir(parents=True)
        (partial / "saved_model.pb").write_text(name)
        partials.append(partial)
    threads = [threading.Thread(target=export._publish, args=(folder, partial)) for partial in partials]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(os.listdir(folder)) == ["1", "2", "3"]
    assert sorted((folder / str(n) / "saved_model.pb").read_text() for n in (1, 2, 3)) == ["a", "b", "c"]


def test_publishing_takes_the_next_number_when_the_first_is_gone(tmp_path, monkeypatch):
    folder = tmp_path / "scale"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "saved_model.pb").write_text("first")
    partial = folder / ".partial-x"
    partial.mkdir()
    (partial / "saved_model.pb").write_text("second")
    answers = iter([[], [1]])  # what the folder seemed to hold at first, and then
    monkeypatch.setattr(export, "_versions", lambda _: next(answers))
    assert export._publish(folder, partial).name == "2"
    assert (folder / "1" / "saved_model.pb").read_text() == "first"
    assert (folder / "2" / "saved_model.pb").read_text() == "second"


def models_of(path):
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse(path.read_text(), config)
    return config.model_config_list.config


def test_server_settings_keep_what_others_wrote(tmp_path):
    path = tmp_path / "models.config"
    text = """# mine
model_config_list { config { name: "detection" base_path: "/models/detection" model_platform: "tensorflow"
                             model_version_policy { all {} } } }"""
    path.write_text(text)
    (tmp_path / "batching.config").write_text("max_batch_size { value: 7 }")
    export.configure(tmp_path / "detection")
    assert path.read_text() == text
    export.configure(tmp_path / "translation")
    models = models_of(path)
    assert [(model.name, model.base_path, model.model_platform) for model in models] == [
        ("detection", "/models/detection", "tensorflow"), ("translation", "/models/translation", "tensorflow")]
    assert models[0].model_version_policy.HasField("all")
    assert (tmp_path / "batching.config").read_text() == "max_batch_size { value: 7 }"
    assert (tmp_path / "monitoring.config").exists()
    assert not list(tmp_path.glob(".*partial*"))


def test_many_models_at_once_are_all_kept(tmp_path):
    names = [f"model{i}" for i in range(12)]
    threads = [threading.Thread(target=export.configure, args=(tmp_path / name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(model.name for model in models_of(tmp_path / "models.config")) == sorted(names)


def test_unreadable_server_settings(tmp_path):
    (tmp_path / "models.config").write_text("models: [detection]")
    with pytest.raises(UserError, match="correct or remove it"):
        export.configure(tmp_path / "detection")
    with pytest.raises(UserError, match="correct or remove it"):
        export_scale(tmp_path / "scale")
    assert not list((tmp_path / "scale").iterdir())  # no version that no results name
    assert (tmp_path / "models.config").read_text() == "models: [detection]"


@pytest.mark.skipif(os.name != "posix", reason="such names are not allowed")
@pytest.mark.parametrize("name", ["project [final]", "back\\slash", "what?", "a*b", "blank größer"])
def test_an_export_is_loaded_from_any_folder(exported, tmp_path, monkeypatch, name):
    """TensorFlow takes the path of the variables for a pattern."""
    folder = tmp_path / name / "scale"
    shutil.copytree(exported, folder / "1")
    shutil.copytree(exported, tmp_path / "project f" / "scale" / "1")  # what the pattern would find
    monkeypatch.chdir(tmp_path)
    for version in (export.newest(folder), pathlib.Path(name, "scale", "1")):
        export._load.cache_clear()
        assert export.answer(version, {"numbers": [[1, 2]], "words": [b"a"]})["scaled"].tolist() == [[3, 6]]
        assert os.getcwd() == str(tmp_path)


def test_a_damaged_export_is_refused_in_one_sentence(exported, tmp_path):
    for number, (name, keep) in enumerate([("saved_model.pb", 100), ("saved_model.pb", 0), ("variables/variables.index", 10),
                                           ("variables/variables.data-00000-of-00001", 1)]):
        version = shutil.copytree(exported, tmp_path / str(number))
        content = (version / name).read_bytes()
        (version / name).write_bytes(content[:keep])
        with pytest.raises(UserError, match="cannot be loaded") as error:
            export.answer(version, {"numbers": [[1, 2]], "words": [b"a"]})
        assert "\n" not in str(error.value)


def test_calls_are_without_the_optimizer_that_warns_and_leave_others_as_they_are():
    context = quiet.eager.context()
    before = context.function_call_options

    def memory_optimization():
        config = tf.compat.v1.ConfigProto.FromString(context.function_call_options.config_proto_serialized)
        return config.graph_options.rewrite_options.memory_optimization

    usual = memory_optimization()
    with pytest.raises(KeyError), quiet.calls():
        assert memory_optimization() == rewriter_config_pb2.RewriterConfig.NO_MEM_OPT != usual
        raise KeyError
    assert context.function_call_options is before
