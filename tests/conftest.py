"""One process environment for all tests, set before TensorFlow is imported."""
import os
import pathlib
import shutil
import signal
import tempfile
from unittest import mock

import pytest

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"  # as `training` sets it; here TensorFlow is imported before
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the same tests, on the same device, everywhere
os.environ.pop("TF_CONFIG", None)
_FIRST = "PYTEST_XDIST_WORKER" not in os.environ
if _FIRST:  # the processes of pytest-xdist share what one of them prepares
    os.environ["TFDS_DATA_DIR"] = tempfile.mkdtemp(prefix="tests-tfds-")
else:  # and the cores
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

_CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(_CPU, [tf.config.LogicalDeviceConfiguration() for _ in range(2)])


def pytest_unconfigure():
    if _FIRST:
        shutil.rmtree(os.environ["TFDS_DATA_DIR"], ignore_errors=True)


@pytest.fixture(autouse=True, scope="module")
def _same_precision():
    keras.config.set_dtype_policy("float32")  # a run of an earlier module has set its own


@pytest.fixture
def precision(request):
    """A test that is parametrized by it, indirectly, runs under that policy."""
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


@pytest.fixture(autouse=True)
def _same_seed():
    with mock.patch.object(tf.random, "set_seed"):  # nothing draws by it, and every function would be instantiated again
        keras.utils.set_random_seed(0)


@pytest.fixture
def interruptible():
    """Ctrl-C is an interrupt in the test: a job in the background starts with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def repository():
    """The folder of the clone."""
    return pathlib.Path(__file__).resolve().parents[1]


def pytest_addoption(parser):
    parser.addoption("--shard", default="1/1", metavar="I/N", help="run the I-th of N parts of the tests, such as 2/3")


def pytest_collection_modifyitems(config, items):
    """Keeps the tests of one shard; those of one system stay together, since they share its tiny run."""
    try:
        part, parts = map(int, config.getoption("--shard").split("/"))
    except ValueError:
        raise pytest.UsageError("--shard takes I/N, such as 2/3") from None
    if not 1 <= part <= parts:
        raise pytest.UsageError(f"--shard {part}/{parts} is not a part: I goes from 1 to N")
    groups = sorted({_group(item) for item in items})
    mine = set(groups[part - 1::parts])
    config.hook.pytest_deselected(items=[item for item in items if _group(item) not in mine])
    items[:] = [item for item in items if _group(item) in mine]


def _group(item):
    """Returns what a test belongs to: its system, or else its module."""
    values = getattr(item, "callspec", None)
    system = values and (values.params.get("finished") or values.params.get("system"))
    return "-".join(system) if isinstance(system, tuple) else item.nodeid.partition("::")[0]
