"""scikit-learn's small tables, one example per row: regression and classification without a download."""
import numpy as np
import tensorflow_datasets as tfds

from training.datasets.class_names import class_names

SHARES = {"train": 0.6, "validation": 0.15, "test": 0.25}

_REGRESSION = ("diabetes",)
_STRATA = 10  # a number to predict is stratified by tenths of its distribution
_SEED = 20_260_103


class Tabular(tfds.core.GeneratorBasedBuilder):
    """Measurements in columns, and a class or a number to predict from them: 60 % train, 15 % validation, 25 % test.

        diabetes        442 patients, 10 columns; target: progression of the disease a year later
        breast_cancer   569 tumors, 30 columns; label: malignant or benign
        iris            150 flowers, 4 columns; label: one of three species
        wine            178 wines, 13 columns; label: one of three growers

    The splits are stratified by class, or by tenths of the target. `metadata["columns"]` names the columns; values are in the
    units of the source, in float32, because TFDS stores all floats in it.

    Source: Efron et al., 2004, "Least Angle Regression" (diabetes); UCI "Breast Cancer Wisconsin (Diagnostic)", "Iris" and
    "Wine" (CC BY 4.0); all as shipped with scikit-learn.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ("diabetes", "breast_cancer", "iris", "wine")]
    NOTICE = "about 1 s"
    pkg_dir_path = None

    def _info(self):
        table = _table(self.builder_config.name)
        if self.builder_config.name in _REGRESSION:
            answer = {"target": np.float32}
        else:
            answer = {"label": tfds.features.ClassLabel(names=class_names(map(str, table.target_names), self.name))}
        return self.dataset_info_from_configs(
            description=self.__doc__, homepage="https://scikit-learn.org/stable/datasets.html",
            supervised_keys=("features", *answer),
            metadata=tfds.core.MetadataDict(columns=class_names(map(str, table.feature_names), self.name)),
            features=tfds.features.FeaturesDict({
                "features": tfds.features.Tensor(shape=(table.data.shape[1],), dtype=np.float32), **answer}))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in SHARES}

    def _generate_examples(self, split):
        table = _table(self.builder_config.name)
        answer, kind = ("target", float) if self.builder_config.name in _REGRESSION else ("label", int)
        for row in rows_of(self.builder_config.name, split):
            yield int(row), {"features": table.data[row].astype(np.float32), answer: kind(table.target[row])}


def rows_of(name, split):
    """Returns the row numbers of a split in scikit-learn's table, (n,)."""
    target = _table(name).target
    order = np.random.default_rng(_SEED).permutation(len(target))
    strata = np.argsort(np.argsort(target, kind="stable")) * _STRATA // len(target) if name in _REGRESSION else target
    place = list(SHARES).index(split)
    ends = np.cumsum([0, *SHARES.values()])
    chosen = []
    for stratum in np.unique(strata):
        rows = order[strata[order] == stratum]
        first, last = (round(end * len(rows)) for end in ends[place:place + 2])
        chosen.append(rows[first:last])
    return np.concatenate(chosen)


def _table(name):
    import sklearn.datasets

    load = getattr(sklearn.datasets, f"load_{name}")
    return load(scaled=False) if name == "diabetes" else load()
