"""Order, augmentation seeds, sharding and caching of batches, and data sets by name."""
import dataclasses
import json
import socket
import threading

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import training
from training.data import pipelines, sources
from training.data.spec import Info, Spec, difference, load_spec, renumbered, save_spec, spec_of
from training.datasets import digit_scenes
from training.engine import files

COUNT, BATCH = 23, 5
ALONE = tf.distribute.InputContext()


def numbers(count=COUNT):
    return tf.data.Dataset.range(count)


def with_draw(example, seed):
    return {"x": example}, {"draw": tf.random.stateless_uniform([], seed)}


def values(batches):
    """Returns (examples, draws) as lists of lists, one per batch."""
    pairs = [(inputs["x"].numpy().tolist(), targets["draw"].numpy().tolist()) for inputs, targets in batches]
    return [x for x, _ in pairs], [draw for _, draw in pairs]


def test_the_order_is_a_function_of_seed_and_epoch():
    batches = pipelines.shuffled(numbers(), with_draw, BATCH, seed=7)
    again = pipelines.shuffled(numbers(), with_draw, BATCH, seed=7)
    other_seed = pipelines.shuffled(numbers(), with_draw, BATCH, seed=8)
    first = values(batches(3, 0, ALONE))
    assert values(batches(3, 0, ALONE)) == first  # the second time from the same object
    assert values(again(3, 0, ALONE)) == first
    assert values(batches(4, 0, ALONE))[0] != first[0]
    assert values(other_seed(3, 0, ALONE))[0] != first[0]


def test_an_epoch_has_full_batches_of_different_examples():
    order, draws = values(pipelines.shuffled(numbers(), with_draw, BATCH, seed=0)(0, 0, ALONE))
    assert [len(batch) for batch in order] == [BATCH] * (COUNT // BATCH)
    flat = np.concatenate(order)
    assert len(set(flat)) == len(flat)
    assert sorted(flat) != list(flat)
    assert len(set(np.concatenate(draws))) == len(flat)


def test_an_example_is_augmented_differently_in_the_next_epoch():
    batches = pipelines.shuffled(numbers(), with_draw, BATCH, seed=0)
    epochs = [dict(zip(np.concatenate(x), np.concatenate(draw))) for x, draw in
              (values(batches(epoch, 0, ALONE)) for epoch in (0, 1))]
    shared = set(epochs[0]) & set(epochs[1])
    assert shared and all(epochs[0][example] != epochs[1][example] for example in shared)


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("buffer", [4, 100])
def test_skipping_equals_continuing(cache, buffer):
    batches = pipelines.shuffled(numbers(), with_draw, BATCH, seed=1, buffer=buffer, cache=cache)
    order, draws = values(batches(2, 0, ALONE))
    for skip in (1, 3, 4):
        assert values(batches(2, skip, ALONE)) == (order[skip:], draws[skip:])


def test_workers_share_each_global_batch():
    batches = pipelines.shuffled(numbers(), with_draw, 6, seed=1)
    order, draws = values(batches(0, 0, ALONE))
    workers = [values(batches(0, 0, tf.distribute.InputContext(2, index, 2))) for index in (0, 1)]
    assert [len(worker[0]) for worker in workers] == [len(order)] * 2
    for step, batch in enumerate(order):
        parts = [list(zip(worker[0][step], worker[1][step])) for worker in workers]
        assert [len(part) for part in parts] == [3, 3]
        assert sorted(parts[0] + parts[1]) == sorted(zip(batch, draws[step]))


def test_the_cache_is_filled_once_although_a_remainder_is_dropped():
    reads = []

    def read():
        for number in range(COUNT):
            reads.append(number)
            yield number

    examples = tf.data.Dataset.from_generator(read, output_signature=tf.TensorSpec([], tf.int64))
    examples = examples.apply(tf.data.experimental.assert_cardinality(COUNT))
    batches = pipelines.shuffled(examples, with_draw, BATCH, seed=0, buffer=3, cache=True)
    orders = [values(batches(epoch, 0, ALONE))[0] for epoch in range(3)]
    assert len(reads) == COUNT
    assert orders[0] != orders[1] != orders[2]


def test_too_few_examples_are_refused():
    with pytest.raises(training.UserError, match="23 examples, fewer than one batch of 24.*--batch-size"):
        pipelines.shuffled(numbers(), with_draw, 24, seed=0)
    with pytest.raises(ValueError, match="cardinality"):
        pipelines.shuffled(numbers().filter(lambda x: x > 3), with_draw, 2, seed=0)


def table(count=COUNT):
    """Returns examples whose parts all tell which one it is."""
    number = np.arange(count)
    return {"x": number, "pair": np.stack([number, 2 * number], -1).astype("float32")}, {"text": np.array([b"%d" % n for n in number])}


LENGTHS = np.append(1000, np.random.default_rng(0).integers(1, 40, 49))
"""of the examples of `table`; one is far longer than the others"""


def in_memory(lengths, batch_size=BATCH, seed=0, count=COUNT):
    return pipelines.in_memory(table(count), batch_size, seed, None if lengths is None else lengths[:count])


def rows(batches):
    """Returns the numbers of the examples, batch by batch, having compared all parts."""
    found = []
    for inputs, targets in batches:
        assert (inputs["pair"].numpy() == np.stack([inputs["x"], 2 * inputs["x"]], -1)).all()
        assert [int(text) for text in targets["text"].numpy()] == inputs["x"].numpy().tolist()
        found.append(inputs["x"].numpy().tolist())
    return found


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["", "lengths"])
def test_in_memory_the_order_is_a_function_of_seed_and_epoch(lengths):
    batches = in_memory(lengths, seed=7)
    first = rows(batches(3, 0, ALONE))
    assert rows(batches(3, 0, ALONE)) == first  # the second time from the same object
    assert rows(in_memory(lengths, seed=7)(3, 0, ALONE)) == first
    orders = [first, rows(batches(4, 0, ALONE)), rows(batches(7, 0, ALONE)),
              *(rows(in_memory(lengths, seed=seed)(3, 0, ALONE)) for seed in (3, 8))]
    assert all(a != b for place, a in enumerate(orders) for b in orders[:place])


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["", "lengths"])
def test_in_memory_an_epoch_has_full_batches_of_different_examples(lengths):
    batches = in_memory(lengths)
    epochs = [rows(batches(epoch, 0, ALONE)) for epoch in range(20)]
    for epoch, order in enumerate(epochs):
        assert [len(batch) for batch in order] == [BATCH] * (COUNT // BATCH) == [BATCH] * int(batches(epoch, 0, ALONE).cardinality())
        assert len(set(np.concatenate(order))) == COUNT // BATCH * BATCH
    assert sorted(np.concatenate(epochs[0])) != list(np.concatenate(epochs[0]))
    assert set(np.ravel(epochs)) == set(range(COUNT)), "what is dropped is drawn anew in every epoch"


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["", "lengths"])
def test_in_memory_one_batch_may_take_all(lengths):
    assert sorted(rows(in_memory(lengths, COUNT)(0, 0, ALONE))[0]) == list(range(COUNT))


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["", "lengths"])
def test_in_memory_skipping_equals_continuing(lengths):
    batches = in_memory(lengths, seed=1)
    order = rows(batches(2, 0, ALONE))
    for skip in range(len(order) + 1):
        assert rows(batches(2, skip, ALONE)) == order[skip:]


@pytest.mark.parametrize("skip", [0, 2])
@pytest.mark.parametrize("workers, replicas", [(2, 2), (3, 3), (2, 4)])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["", "lengths"])
def test_in_memory_workers_share_each_global_batch(lengths, workers, replicas, skip):
    batches = in_memory(lengths, 12, seed=1, count=50)
    order = rows(batches(0, skip, ALONE))
    parts = [rows(batches(0, skip, tf.distribute.InputContext(workers, index, replicas))) for index in range(workers)]
    local = replicas // workers  # batches that a worker takes in one step
    assert [[len(batch) for batch in part] for part in parts] == [[12 // replicas] * local * (4 - skip)] * workers
    for step, batch in enumerate(order):
        taken = [number for part in parts for each in part[step * local:(step + 1) * local] for number in each]
        assert sorted(taken) == sorted(batch)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["", "lengths"])
def test_in_memory_shapes_are_static(lengths):
    batches = in_memory(lengths)
    inputs, targets = batches(0, 0, ALONE).element_spec
    assert inputs == {"x": tf.TensorSpec([BATCH], tf.int64), "pair": tf.TensorSpec([BATCH, 2], tf.float32)}
    assert targets == {"text": tf.TensorSpec([BATCH], tf.string)}
    assert batches(0, 0, tf.distribute.InputContext(1, 0, 5)).element_spec[0]["pair"].shape == [1, 2]
    assert spec_of(batches(0, 0, ALONE), {}).inputs["pair"] == tf.TensorSpec([None, 2], tf.float32)


def test_in_memory_like_lengths_share_a_batch():
    lengths = np.array([1, 3, 4, 6, 8, 20, 30, 100] * 5)  # whole batches of each power of two
    powers = np.ceil(np.log2(lengths)).astype(int)
    assert np.bincount(powers).tolist() == [5, 0, 10, 10, 0, 10, 0, 5]
    batches = in_memory(lengths, count=40)
    epochs = [rows(batches(epoch, 0, ALONE)) for epoch in range(6)]
    for order in epochs:
        assert all(len(set(powers[batch])) == 1 for batch in order)
    assert len({tuple(powers[batch][0] for batch in order) for order in epochs}) > 1, "batches come in any order"
    assert len({frozenset(batch) for order in epochs for batch in order if powers[batch[0]] == 5}) > 6, "companions change"


def test_in_memory_too_few_examples_are_refused():
    with pytest.raises(training.UserError, match="23 examples, fewer than one batch of 24.*--batch-size"):
        pipelines.in_memory(table(), 24, seed=0)


@pytest.mark.parametrize("cache", [False, True])
def test_batched_keeps_the_order_and_the_remainder(cache):
    batches = pipelines.batched(numbers(), with_draw, BATCH, cache=cache)
    assert int(batches.cardinality()) == 5
    order, draws = values(batches)
    assert np.concatenate(order).tolist() == list(range(COUNT))
    assert len(order[-1]) == COUNT % BATCH
    assert values(batches) == (order, draws)


def test_a_spec_survives_its_file(tmp_path):
    batches = pipelines.shuffled(numbers(), with_draw, BATCH, seed=0)(0, 0, ALONE)
    spec = spec_of(batches, Info(class_names=["a", "ä"]))
    assert spec.inputs == {"x": tf.TensorSpec([None], tf.int64)}
    save_spec(spec, 7, tmp_path / "spec.json")
    assert load_spec(tmp_path / "spec.json", Info) == (spec, 7)


@pytest.mark.parametrize("change, words", [
    (lambda kept: kept, None),
    (lambda kept: kept | {"info": {"class_names": ["a", "b"]}}, "different class names"),
    (lambda kept: kept | {"info": {"class_names": ["ä", "a"]}}, "class names in a different order"),
    (lambda kept: kept | {"info": [1]}, "different class names"),
    (lambda kept: kept | {"inputs": {"x": {"shape": [None, 2], "dtype": "int64"}}}, "examples of a different shape"),
    (lambda kept: kept | {"steps": 8}, "7 training steps instead of 8"),
    (lambda kept: kept | {"examples": {"train": [3, 18]}}, "different examples"),
    (lambda kept: {name: value for name, value in kept.items() if name != "examples"}, None),  # of an earlier version
])
def test_data_that_changed_is_noticed(tmp_path, change, words):
    spec = spec_of(pipelines.shuffled(numbers(), with_draw, BATCH, seed=0)(0, 0, ALONE), Info(class_names=["a", "ä"]))
    save_spec(spec, 7, tmp_path / "spec.json", {"train": [3, 17]})
    kept = json.loads((tmp_path / "spec.json").read_text())
    assert difference(change(kept), spec, 7, {"train": [3, 17]}) == words


def test_the_last_digits_of_statistics_may_differ():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Measured(Info):
        mean: list[float]

    kept = {"info": {"class_names": [], "mean": [0.1 + 1e-9, 2.0]}, "inputs": {}, "targets": {}, "steps": 1}
    assert difference(kept, Spec({}, {}, Measured(mean=[0.1, 2.0])), 1, {}) is None
    assert difference(kept, Spec({}, {}, Measured(mean=[0.2, 2.0])), 1, {}) == "different mean"


def test_class_ids_are_matched_by_name():
    targets = {"label": np.array([0, 1, -1], np.int32), "class_ids": np.array([[2, -1], [0, 1], [1, 1]], np.int64),
               "other": np.array([0, 1, 2], np.int32)}
    batches = tf.data.Dataset.from_tensor_slices(({"x": np.zeros(3)}, targets)).batch(2)
    found = renumbered(batches, Info(class_names=["a", "b", "c"]), Info(class_names=["c", "a", "b"]))
    assert found.cardinality() == 2 and found.element_spec == batches.element_spec
    _, joined = next(iter(found.unbatch().batch(3)))
    assert {name: value.numpy().tolist() for name, value in joined.items()} == {
        "label": [1, 2, -1], "class_ids": [[0, -1], [1, 2], [2, 2]], "other": [0, 1, 2]}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"inputs": {"x": 3}, "targets": {}, "info": {}, "steps": 1}',
                                     '{"inputs": {}, "targets": {}, "info": {"nothing": 1}, "steps": 1}',
                                     '{"inputs": {}, "targets": {}, "info": {}}'])
def test_a_broken_spec_file_is_refused(tmp_path, content):
    (tmp_path / "spec.json").write_text(content)
    with pytest.raises(training.UserError, match="spec.json"):
        load_spec(tmp_path / "spec.json", Info)


@pytest.fixture
def small_scenes(monkeypatch):
    monkeypatch.setattr(digit_scenes, "EXAMPLES", {"train": 12, "validation": 3, "test": 4})


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_our_own_set_is_prepared_once_quietly_and_without_network(tmp_path, small_scenes, no_network, capfd):
    config = training.Config(data_dir=str(tmp_path))
    prepared = sources.builder("digit_scenes", config)
    out, err = capfd.readouterr()
    assert out == "preparing digit_scenes (once, about 10 s)\n"
    assert err == ""
    assert len(list(sources.read(prepared, "train"))) == 12
    again = sources.builder("digit_scenes", config)
    assert capfd.readouterr().out == ""
    assert again.data_dir == prepared.data_dir


def test_a_process_that_was_slower_takes_what_the_other_one_made(tmp_path, small_scenes, monkeypatch):
    config = training.Config(data_dir=str(tmp_path))
    prepare = digit_scenes.DigitScenes.download_and_prepare

    def late(self, **options):
        prepare(self, **options)
        raise OSError(39, "Directory not empty")

    monkeypatch.setattr(digit_scenes.DigitScenes, "download_and_prepare", late)
    prepared = sources.builder("digit_scenes", config)
    assert prepared.info.splits["train"].num_examples == 12


def test_a_set_that_another_process_prepares_is_waited_for(tmp_path, small_scenes, monkeypatch, capfd):
    prepare, prepared, found = digit_scenes.DigitScenes.download_and_prepare, [], []
    monkeypatch.setattr(digit_scenes.DigitScenes, "download_and_prepare",
                        lambda self, **options: prepared.append(prepare(self, **options)))
    waiting = threading.Thread(
        target=lambda: found.append(sources.builder("digit_scenes", training.Config(data_dir=str(tmp_path)))))
    (tmp_path / "digit_scenes").mkdir()
    with files.lock(tmp_path / "digit_scenes"):
        waiting.start()
        said = ""
        while "waiting for another process that is preparing digit_scenes" not in said and waiting.is_alive():
            said += capfd.readouterr().out
            waiting.join(0.01)
        assert waiting.is_alive() and not prepared
        digit_scenes.DigitScenes(data_dir=str(tmp_path)).download_and_prepare()
    waiting.join(60)
    assert found[0].info.splits["train"].num_examples == 12 and len(prepared) == 1


def test_a_full_disk_is_not_called_something_else(tmp_path, small_scenes, monkeypatch):
    def full(self, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(digit_scenes.DigitScenes, "download_and_prepare", full)
    with pytest.raises(OSError, match="No space left"):
        sources.builder("digit_scenes", training.Config(data_dir=str(tmp_path)))


def test_the_default_folder_is_tfds_s(tmp_path, small_scenes, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "elsewhere"))
    assert sources.builder("digit_scenes", training.Config()).data_dir.startswith(str(tmp_path / "elsewhere"))


@pytest.mark.parametrize("name, sentence", [
    ("digit_scene", "no data set 'digit_scene'; did you mean digit_scenes"),
    ("cocoo/2017", "did you mean coco "),
    ("qqqqqqqq", "choose one of digit_scenes, bccd, penn_fudan, coco_folder, voc_folder"),
    ("voc/2070", "voc has no config '2070'; did you mean voc/2007"),
    ("voc/2007", "voc/2007 is not prepared in .*--download.*--data-dir"),
    ("imagenet2012", "--download.*--manual-dir.*ILSVRC2012_img_train.tar"),
    ("mnist:1.2.3", "cannot open the data set 'mnist:1.2.3'"),
    ("bccd", "bccd needs --manual-dir.*BCCD.zip"),
    ("coco_folder", "coco_folder needs --manual-dir.*annotations.json"),
    ("voc_folder", "voc_folder needs --manual-dir.*JPEGImages"),
])
def test_what_is_not_there_is_said_in_one_sentence(tmp_path, no_network, name, sentence):
    with pytest.raises(training.UserError, match=sentence) as error:
        sources.builder(name, training.Config(data_dir=str(tmp_path)))
    assert "\n" not in str(error.value)


def test_a_manual_folder_that_is_not_there_is_named(tmp_path):
    for name in ("bccd", "voc_folder"):
        with pytest.raises(training.UserError, match="nowhere is not a folder"):
            sources.builder(name, training.Config(data_dir=str(tmp_path), manual_dir=str(tmp_path / "nowhere")))
    (tmp_path / "some" / "folder").mkdir(parents=True)
    for folder, sentence in (("some", "BCCD.zip does not exist"), ("some/folder", "folder is empty; bccd needs this: .*BCCD.zip")):
        with pytest.raises(training.UserError, match=sentence):
            sources.builder("bccd", training.Config(data_dir=str(tmp_path / "data"), manual_dir=str(tmp_path / folder)))


def store(folder, name, version, features, splits, config=None):
    """Writes a prepared TFDS set: {split: list of examples}."""
    def dataset(examples):
        return tf.data.Dataset.from_generator(lambda: iter(examples), output_signature=features.get_tensor_spec())

    tfds.dataset_builders.store_as_tfds_dataset(
        name=name, version=version, features=features, config=config, data_dir=folder,
        split_datasets={split: dataset(examples) for split, examples in splits.items()})


def test_another_version_of_a_tfds_set_that_is_there_is_taken(tmp_path, no_network):
    features = tfds.features.FeaturesDict({"number": np.int64})
    store(tmp_path, "mnist", "2.0.0", features, {"train": [{"number": 5}]})
    prepared = sources.builder("mnist", training.Config(data_dir=str(tmp_path)))
    assert str(prepared.version) == "2.0.0"
    assert [int(example["number"]) for example in sources.read(prepared, "train")] == [5]


def test_a_slice_without_examples_is_refused(tmp_path):
    features = tfds.features.FeaturesDict({"number": np.int64})
    store(tmp_path, "mnist", "3.0.1", features, {"train": [{"number": 5}]})
    prepared = sources.builder("mnist", training.Config(data_dir=str(tmp_path)))
    with pytest.raises(training.UserError, match="contains no examples"):
        sources.read(prepared, "train[:10%]")


@pytest.mark.parametrize("splits, parts", [
    ({"train", "validation", "test"}, ("train", "validation", "test")),
    ({"train", "test"}, ("train[:90%]", "train[90%:]", "test")),
    ({"train", "validation"}, ("train[:90%]", "train[90%:]", "validation")),
    ({"train"}, ("train[:80%]", "train[80%:90%]", "train[90%:]")),
])
def test_what_is_trained_chosen_and_judged_on(splits, parts):
    @dataclasses.dataclass
    class Part:
        num_examples: int = 10

    @dataclasses.dataclass
    class Prepared:
        name = "own"
        info: object
        builder_config = None

    info = type("Info", (), {"splits": {split: Part() for split in splits}})
    assert tuple(sources.parts(Prepared(info)).values()) == parts
    secret = type("Config", (), {"has_test_annotations": False})  # as voc/2012 has it
    whole = Prepared(type("Info", (), {"splits": {split: Part() for split in ("train", "validation", "test")}}))
    whole.builder_config = secret
    assert sources.parts(whole) == {"train": "train[:90%]", "validation": "train[90%:]", "test": "validation"}
    with pytest.raises(training.UserError, match="has no train split, only test"):
        sources.parts(Prepared(type("Info", (), {"splits": {"test": Part()}})))


@pytest.mark.parametrize("replicas", [1, 2])
def test_what_is_done_to_a_batch_is_a_function_of_seed_epoch_and_step(replicas):
    context = tf.distribute.InputContext(num_replicas_in_sync=replicas)

    def marked(inputs, targets, seed):
        return inputs, targets | {"batch_draw": tf.random.stateless_uniform([], seed)}

    def draws(epoch, skip, seed=7):
        batches = pipelines.augmented(pipelines.shuffled(numbers(), with_draw, 4, seed=7), marked, seed)
        return [float(targets["batch_draw"]) for _, targets in batches(epoch, skip, context)]

    whole = draws(0, 0)
    assert len(set(whole)) == len(whole) == 5 * replicas
    assert draws(0, 0) == whole
    assert draws(0, 3) == whole[3 * replicas:]
    assert not set(draws(1, 0)) & set(whole) and not set(draws(0, 0, seed=8)) & set(whole)


def test_a_line_that_only_announces_the_reason_is_followed_by_it():
    error = ValueError("Failed to encode example:\n{'image/id': 3,\n 'objects': []}\nPython int too large to convert to C long")
    assert sources._first_line(error) == "Failed to encode example: Python int too large to convert to C long"
    assert sources._first_line(ValueError("one\ntwo")) == "one" and sources._first_line(KeyError()) == "KeyError"
