"""scikit-learn's tables as a TFDS builder: what it holds, and how it is split."""
import numpy as np
import pytest
import sklearn.datasets
import tensorflow_datasets as tfds

import training
from training.data import sources
from training.datasets import tabular

NAMES = {"diabetes": (442, 10, 0), "breast_cancer": (569, 30, 2), "iris": (150, 4, 3), "wine": (178, 13, 3)}
SPLITS = ("train", "validation", "test")


def prepared(name, folder):
    return sources.builder(f"tabular/{name}", training.Config(data_dir=str(folder)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tabular")


def source(name):
    return sklearn.datasets.load_diabetes(scaled=False) if name == "diabetes" else getattr(sklearn.datasets, f"load_{name}")()


@pytest.mark.parametrize("name", NAMES)
def test_every_row_of_scikit_learn_is_in_one_split(name, folder):
    examples, columns, classes = NAMES[name]
    found, table = prepared(name, folder), source(name)
    answer = "label" if classes else "target"
    assert found.info.supervised_keys == ("features", answer) and set(found.info.features) == {"features", answer}
    rows = [(tuple(example["features"]), float(example[answer])) for split in SPLITS
            for example in sources.read(found, split).as_numpy_iterator()]
    assert sorted(rows) == sorted((tuple(row), float(target)) for row, target in zip(table.data.astype(np.float32), table.target))
    assert len(rows) == examples and found.info.features["features"].shape == (columns,)
    assert found.info.features["features"].np_dtype == np.float32
    if classes:
        assert found.info.features["label"].names == [str(each) for each in table.target_names]


@pytest.mark.parametrize("name", NAMES)
def test_the_names_of_the_columns_are_kept_on_the_disk(name, folder):
    again = tfds.builder_from_directory(prepared(name, folder).data_dir)
    assert again.info.metadata["columns"] == [str(each) for each in source(name).feature_names]


@pytest.mark.parametrize("name", NAMES)
def test_splits_are_disjoint_and_stratified(name):
    examples, _, classes = NAMES[name]
    target, parts = source(name).target, {split: tabular.rows_of(name, split) for split in SPLITS}
    assert sorted(np.concatenate(list(parts.values()))) == list(range(examples))
    for split, share in tabular.SHARES.items():
        assert len(parts[split]) == pytest.approx(share * examples, abs=max(2, 5 if not classes else 2))
        if classes:
            assert np.bincount(target[parts[split]]) == pytest.approx(share * np.bincount(target), abs=1)
        else:  # each tenth of the targets is there in its share
            places = np.argsort(np.argsort(target, kind="stable"))[parts[split]] * 10 // examples
            assert np.bincount(places, minlength=10) == pytest.approx(np.full(10, share * examples / 10), abs=1)


def test_the_same_again(folder, tmp_path):
    one, other = ([tuple(example["features"]) for example in sources.read(prepared("wine", where), "test").as_numpy_iterator()]
                  for where in (folder, tmp_path))
    assert one == other


def test_another_config_is_refused(tmp_path):
    with pytest.raises(training.UserError, match="tabular has no config 'wines'; did you mean tabular/wine"):
        prepared("wines", tmp_path)
