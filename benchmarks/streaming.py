"""Peak memory and bytes read per epoch of a worker, for a data set and one ten times as large; Linux only.

    python benchmarks/streaming.py [MEGABYTES]

creates a data set of about this many megabytes (default: 100) and one ten times as large, both as TFDS files, and streams each
with `training.data.pipelines.shuffled` in one process per worker, with two workers.
"""
import contextlib
import io
import json
import os
import pathlib
import re
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
"""bytes per example, as in a small photograph"""


class Noise(tfds.core.GeneratorBasedBuilder):
    """Examples of random bytes."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, count, **options):
        self.count = count
        super().__init__(**options)

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({"image": np.bytes_}))

    def _split_generators(self, manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        random = np.random.default_rng(0)
        for number in range(self.count):
            yield number, {"image": random.bytes(EXAMPLE)}


def work(folder, worker):
    """Reads one epoch like a worker, and prints its measurements."""
    prepared = tfds.builder_from_directory(folder)

    def preprocess(example, seed):
        return {"image": tf.ensure_shape(tf.io.decode_raw(example["image"], tf.uint8), [EXAMPLE])}, {}

    batches = pipelines.shuffled(sources.read(prepared, "train"), preprocess, BATCH, seed=0, buffer=BUFFER,
                                 share=lambda share: sources.read(prepared, "train", share))
    before = memory("VmRSS"), bytes_read()
    steps = sum(1 for _ in batches(0, 0, tf.distribute.InputContext(WORKERS, worker, WORKERS)))
    print(json.dumps({"steps": steps, "read": (bytes_read() - before[1]) / 1e6, "before": before[0], "peak": memory("VmHWM")}))


def memory(name):
    """Returns a memory statistic of this process in megabytes: VmRSS is its current memory, VmHWM its peak."""
    # not resource.getrusage, whose peak may be that of the process that started this one
    return int(re.search(rf"{name}:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) * 1024 / 1e6


def bytes_read():
    """Returns the number of bytes that this process has read."""
    return int(pathlib.Path("/proc/self/io").read_text().split()[1])


def main(megabytes=100):
    """Prints one row per worker and size."""
    tfds.disable_progress_bar()
    print("  data set  worker   steps       read    before      peak")
    peaks = []
    for times in (1, 10):
        with tempfile.TemporaryDirectory() as folder:
            made = Noise(megabytes * times * 1_000_000 // EXAMPLE, data_dir=folder)
            with contextlib.redirect_stdout(io.StringIO()):
                made.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=FILES))
            for worker in range(WORKERS):
                ended = subprocess.run([sys.executable, __file__, made.data_dir, str(worker)], check=True,
                                       stdout=subprocess.PIPE, text=True)
                found = json.loads(ended.stdout.splitlines()[-1])
                peaks.append((times, found["peak"]))
                print(f"{megabytes * times:7} MB  {worker:6}  {found['steps']:6}  {found['read']:6.0f} MB  "
                      f"{found['before']:5.0f} MB  {found['peak']:5.0f} MB", flush=True)
    small, large = (max(peak for size, peak in peaks if size == times) for times in (1, 10))
    print(f"ten times the data: {large / small:.2f} times the memory")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        work(*sys.argv[1:2], int(sys.argv[2]))
    else:
        main(*map(int, sys.argv[1:]))
