"""Sets that are too large for one machine: each worker reads its own files, and all of them together an epoch."""
import types

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from training.data import pipelines, sources
from training.vision import labelled_images

COUNT, FILES, BATCH = 103, 6, 8
ALONE = tf.distribute.InputContext()


class Numbers(tfds.core.GeneratorBasedBuilder):
    """Numbers, with a picture each, in several files."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({
            "image": tfds.features.Image(shape=(8, 8, 1)), "label": tfds.features.ClassLabel(num_classes=COUNT)}))

    def _split_generators(self, manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number in range(COUNT):
            yield number, {"image": np.full((8, 8, 1), number, np.uint8), "label": number}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    found = Numbers(data_dir=tmp_path_factory.mktemp("data"))
    tfds.disable_progress_bar()
    found.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=FILES))
    return found


def numbers(prepared, split="train", share=None):
    return [int(example["label"]) for example in sources.read(prepared, split, share)]


@pytest.mark.parametrize("split, workers", [("train", 2), ("train[10%:]", 3)])
def test_shares_are_equal_and_none_meets_another(prepared, split, workers):
    whole = numbers(prepared, split)
    parts = [numbers(prepared, split, pipelines.Share(index, workers, 5)) for index in range(workers)]
    assert {len(part) for part in parts} == {len(whole) // workers}
    assert len(set(sum(parts, []))) == len(whole) // workers * workers and set(sum(parts, [])) <= set(whole)
    assert parts[0] == numbers(prepared, split, pipelines.Share(0, workers, 5))
    assert set(parts[0]) != set(numbers(prepared, split, pipelines.Share(0, workers, 6))), "another epoch, another share"


def test_a_share_is_of_whole_files_but_for_its_ends(prepared):
    files = prepared.info.splits["train"].file_instructions
    assert len(files) == FILES
    for workers in (2, 3):
        for index in range(workers):
            own = sources._dealt(pipelines.Share(index, workers, 1), COUNT // workers, files)
            assert sum(file.take for file in own) == COUNT // workers
            assert all(file.take == file.examples_in_shard for file in own[1:-1])
            assert len(own) <= FILES // workers + 1


def with_draw(example, seed):
    return {"x": example["label"]}, {"draw": tf.random.stateless_uniform([], seed)}


def streamed(prepared, share=True):
    return pipelines.shuffled(sources.read(prepared, "train"), with_draw, BATCH, seed=3, buffer=20,
                              share=(lambda share: sources.read(prepared, "train", share)) if share else None)


def values(batches):
    pairs = [(inputs["x"].numpy().tolist(), targets["draw"].numpy().tolist()) for inputs, targets in batches]
    return [x for x, _ in pairs], [draw for _, draw in pairs]


@pytest.mark.parametrize("workers, replicas", [(2, 2), (2, 4)])
def test_workers_stream_an_epoch_together(prepared, workers, replicas):
    batches = streamed(prepared)
    steps = int(batches(0, 0, ALONE).cardinality())
    found = [values(batches(0, 0, tf.distribute.InputContext(workers, index, replicas))) for index in range(workers)]
    for x, _ in found:
        assert [len(batch) for batch in x] == [BATCH // replicas] * (steps * replicas // workers)
    for part in range(2):  # no example and no draw is given twice
        flat = np.concatenate([np.ravel(each[part]) for each in found])
        assert len(set(flat)) == len(flat) == steps * BATCH
    context = tf.distribute.InputContext(workers, 1, replicas)
    assert values(batches(1, 0, context))[0] != found[1][0]
    first = 5 * replicas // workers
    assert values(streamed(prepared)(0, 5, context)) == (found[1][0][first:], found[1][1][first:])


def test_one_worker_has_the_same_order_as_ever(prepared):
    assert values(streamed(prepared)(2, 1, ALONE)) == values(streamed(prepared, share=False)(2, 1, ALONE))
    mirrored = tf.distribute.InputContext(1, 0, 2)
    assert values(streamed(prepared)(2, 1, mirrored)) == values(streamed(prepared, share=False)(2, 1, mirrored))


def test_what_is_cached_is_not_shared_out(prepared):
    def share(share):
        raise AssertionError("all of it is in memory")

    batches = pipelines.shuffled(sources.read(prepared, "train"), with_draw, BATCH, seed=3, cache=True, share=share)
    assert values(batches(0, 0, tf.distribute.InputContext(2, 1, 2)))[0]


def test_images_that_do_not_fit_in_memory_are_streamed(prepared, monkeypatch):
    monkeypatch.setattr(labelled_images, "_LARGEST_IN_MEMORY", 0)
    monkeypatch.setattr(sources, "builder", lambda name, config: prepared)
    images = labelled_images.LabelledImages(types.SimpleNamespace(dataset="numbers", image_size=8))
    read, found = sources.read, []
    monkeypatch.setattr(sources, "read", lambda *arguments, **options: found.append(arguments) or read(*arguments, **options))
    batches, _ = images.train(BATCH, seed=0)
    labels = [np.concatenate([targets["label"] for _, targets in batches(0, 0, tf.distribute.InputContext(2, index, 2))])
              for index in range(2)]
    assert len(labels[0]) == len(labels[1]) and not set(labels[0]) & set(labels[1])
    assert [arguments[2] and arguments[2][:2] for arguments in found] == [None, (0, 2), (1, 2)]
