"""scikit-learn's handwritten digits, one per image: classification without a download."""
import tensorflow_datasets as tfds

from training.datasets import digit_scenes


class Digits(tfds.core.GeneratorBasedBuilder):
    """1,797 real handwritten digits, 8x8 pixels in gray: 1,078 train, 269 validation, 450 test, stratified by class.

    The splits are those of digit_scenes: its test digits are the test digits here. Digits of one writer may be in several splits.

    Source: the test part of the UCI "Optical Recognition of Handwritten Digits" set (CC BY 4.0), as shipped with scikit-learn;
    its 17 gray levels are scaled to 0..255.
    """

    VERSION = tfds.core.Version("1.0.0")
    NOTICE = "about 1 s"
    pkg_dir_path = None

    def _info(self):
        return self.dataset_info_from_configs(
            description=self.__doc__, homepage="https://scikit-learn.org/stable/datasets.html",
            supervised_keys=("image", "label"),
            features=tfds.features.FeaturesDict({
                "image": tfds.features.Image(shape=(8, 8, 1), encoding_format="png"),
                "label": tfds.features.ClassLabel(names=[str(digit) for digit in range(10)]),
            }))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in ("train", "validation", "test")}

    def _generate_examples(self, split):
        for image, label, index in zip(*digit_scenes.digits_of(split)):
            yield int(index), {"image": image[..., None], "label": label}
