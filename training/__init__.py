"""What all applications share: settings, data, distribution strategies, training loop, TensorBoard and export.

Importing this package does not import TensorFlow; its modules do.
"""
import os
import tempfile

from training.config import Config, Experiment, UserError, Verb

__all__ = ["Config", "Experiment", "UserError", "Verb", "load"]

# TensorFlow turns oneDNN on by itself only on processors with AVX-512 VNNI and later; AVX2 gains from it as well
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# file systems without locks would refuse every file of weights; a run's folder has a lock of its own, see training.engine.files
os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")

if os.path.expanduser("~") == "~":  # a user without a home folder, for whom Keras would make one called ~ in the working folder
    os.environ.setdefault("KERAS_HOME", os.path.join(tempfile.gettempdir(), ".keras"))
    os.environ.setdefault("MPLCONFIGDIR", os.path.join(tempfile.gettempdir(), "matplotlib"))


def load(run):
    """Returns (the model with the best weights, its Config) of the run in a folder."""
    from training import run as flow

    return flow.load(run)
