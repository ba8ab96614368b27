"""Whether a worker's memory stays flat as the data set grows tenfold: the peak of each worker, and how much it reads in an epoch.

    python benchmarks/streaming.py [MEGABYTES]

makes a data set of about so many megabytes (50) and one of ten times as many, both in files as TFDS writes them, and passes
each to `training.data.pipelines.shuffled` in one process for each of two workers.
"""
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tensorflow_datasets as tfds  # noqa: E402

from training.data import pipelines, sources  # noqa: E402

WORKERS, FILES, BATCH, BUFFER = 2, 16, 32, 500
EXAMPLE = 25_000
"""bytes of an example, as of a small photograph"""


class Noise(tfds.core.GeneratorBasedBuilder):
    """Examples of random bytes."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, count, **options):
        self.count = count
        super().__init__(**options)

    def _info(self):
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict({"image": np.bytes_}))

    def _split_generators(self, manager):
        random = np.random.default_rng(0)
        return {"train": ((number, {"image": random.bytes(EXAMPLE)}) for number in range(self.count))}


def work(folder, worker):
    """Passes over one epoch as a worker does, and prints its figures."""
    prepared = tfds.builder_from_directory(folder)

    def preprocess(example, seed):
        return {"image": tf.ensure_shape(tf.io.decode_raw(example["image"], tf.uint8), [EXAMPLE])}, {}

    batches = pipelines.shuffled(sources.read(prepared, "train"), preprocess, BATCH, seed=0, buffer=BUFFER,
                                 share=lambda share: sources.read(prepared, "train", share))
    before = bytes_read()
    steps = sum(1 for _ in batches(0, 0, tf.distribute.InputContext(WORKERS, worker, WORKERS)))
    print(json.dumps({"steps": steps, "megabytes": (bytes_read() - before) / 1e6,
                      "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6}))


def bytes_read():
    """Returns how many bytes this process has read, on Linux; elsewhere 0."""
    path = pathlib.Path("/proc/self/io")
    return int(path.read_text().split()[1]) if path.exists() else 0


def main(megabytes=50):
    """Prints a row for each worker and size."""
    print(f"{'data set':>10}  worker  {'steps':>6}  {'read':>9}  {'peak memory':>11}")
    peaks = []
    for times in (1, 10):
        with tempfile.TemporaryDirectory() as folder:
            made = Noise(megabytes * times * 1_000_000 // EXAMPLE, data_dir=folder)
            tfds.disable_progress_bar()
            made.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=FILES))
            for worker in range(WORKERS):
                ended = subprocess.run([sys.executable, __file__, made.data_dir, str(worker)], check=True,
                                       stdout=subprocess.PIPE, text=True)
                found = json.loads(ended.stdout.splitlines()[-1])
                peaks.append((times, found["peak"]))
                print(f"{megabytes * times:7} MB  {worker:6}  {found['steps']:6}  {found['megabytes']:6.0f} MB  "
                      f"{found['peak']:8.0f} MB", flush=True)
    small, large = (max(peak for size, peak in peaks if size == times) for times in (1, 10))
    print(f"ten times the data: {large / small:.2f} times the memory")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        work(*sys.argv[1:2], int(sys.argv[2]))
    else:
        main(*map(int, sys.argv[1:]))
