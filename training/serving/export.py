"""SavedModels for TensorFlow Serving: versions that appear atomically, with warm-up requests, labels and server settings.

    saved_models/
      models.config batching.config monitoring.config     what the server is started with
      detection/                                          a model: base path /models/detection in the container
        1/ 2/ …                                           versions; the server takes the newest
          saved_model.pb variables/ assets/
          assets.extra/tf_serving_warmup_requests         replayed by the server before it accepts requests
          assets.extra/class_names.txt …                  labels, for people
"""
import contextlib
import errno
import functools
import os
import pathlib
import shutil
import socket
import time

import keras
import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import saved_model_pb2

from training.engine import files
from training.errors import UserError, first_line
from training.serving import quiet

SERVER_VERSION = "2.20.0"
"""the newest release of TensorFlow Serving, and the one of `deploy`"""

WARMUP_FILE = "tf_serving_warmup_requests"
_PARTIAL = ".partial-"
_PATTERN_SIGNS = set("*?[]\\")
_STALE_SECONDS = 24 * 3600

# One file for all models: a request waits 2 ms for company, a large one is split, a full queue refuses.
_BATCHING = """max_batch_size { value: 32 }
batch_timeout_micros { value: 2000 }
num_batch_threads { value: 4 }
max_enqueued_batches { value: 64 }
enable_large_batch_splitting { value: true }
"""
_MONITORING = """prometheus_config {
  enable: true
  path: "/monitoring/prometheus/metrics"
}
"""


def export(folder, model, signatures, *, labels=None, warmup=None, force=False):
    """Writes the next version of a model for TensorFlow Serving and returns its folder.

    The version is written under a name that a server ignores, and renamed when it is complete and on disk. If two exports run
    at once, the second one gets the next number. `models.config` next to the model's folder gets an entry for the model if it
    has none; `batching.config` and `monitoring.config` are written if they do not exist.

    Arguments:
        folder: folder of the model, such as saved_models/detection; its name is the name of the model.
        model: model with the variables of the signatures.
        signatures: {name: (function, {input name: TensorSpec})}; a function receives its inputs by name and returns
            {output name: tensor}. Floating outputs become float32.
        labels: {file name: list of lines}, kept in assets.extra.
        warmup: {signature: {input name: value}}, one request for every signature.
        force: export even if signatures changed or TensorFlow is newer than the newest server.

    Raises:
        UserError: the newest version has other signatures, or TensorFlow is newer than the newest server.
        ValueError: a signature has no warm-up request, or a server cannot run it.
    """
    folder = pathlib.Path(folder)
    warmup = warmup or {}
    missing = sorted(set(signatures) - set(warmup))
    if missing:
        raise ValueError(f"no warm-up request for the signature {missing[0]}")
    if not force:
        check_tensorflow()
    folder.mkdir(parents=True, exist_ok=True)
    _server_config(folder.parent / "models.config")  # before a version is there that no results would name
    _remove_stale(folder)
    partial = folder / f"{_PARTIAL}{socket.gethostname()}-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _write(partial, model, signatures)
        _check_servable(partial)
        if not force:
            _check_signature(folder, partial)
        _write_extras(partial, folder.name, signatures, labels or {}, warmup)
        _flush(partial)
        version = _publish(folder, partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    configure(folder)
    return version


def newest(folder):
    """Returns the folder of the version with the highest number.

    Raises:
        UserError: there is no version.
    """
    return newest_of([folder])


def newest_of(folders, model=None):
    """Returns the folder of the version that was exported last: the one with the highest number, in the folder of each kind of
    export of an application.

    model: the system to train, for the error message; None: the default system

    Raises:
        UserError: there is no version.
    """
    found = [pathlib.Path(folder, str(versions[-1])) for folder in folders if (versions := _versions(folder))]
    if not found:
        task = pathlib.Path(folders[0]).name.partition("-")[0]
        command = f"python -m apps.{task}" + (f" --model {model}" if model else "")
        raise UserError(f"there is no export in {folders[0]}: train one with `{command}`, or specify another folder")
    return max(found, key=lambda version: version.stat().st_mtime)


def answer(version, inputs, signature="serving_default"):
    """Returns the outputs of an exported version, computed in this process.

    Arguments:
        version: folder of one version.
        inputs: {input name: array or list}; strings as a list of bytes (NumPy's own string arrays drop trailing zeros).

    Returns: {output name: numpy array}

    Raises:
        UserError: there is no export or signature, or the inputs do not match the signature.
    """
    functions = _load(str(pathlib.Path(version).resolve())).signatures
    if signature not in functions:
        raise UserError(f"{version} has no signature {signature}; it has {', '.join(sorted(functions))}")
    function = functions[signature]
    specs = function.structured_input_signature[1]
    if set(inputs) != set(specs):
        raise UserError(f"the signature {signature} has the inputs {', '.join(sorted(specs))}, not {', '.join(sorted(inputs))}")
    tensors = {name: tf.constant(value, specs[name].dtype) for name, value in inputs.items()}
    with quiet.calls():
        return {name: value.numpy() for name, value in function(**tensors).items()}


def any_size(tensor):
    """Returns the tensor with an unknown size on every axis, so that a system with other sizes can be the next version."""
    return tf.raw_ops.PlaceholderWithDefault(input=tensor, shape=[None] * len(tensor.shape))


def describe(version):
    """Returns {signature: {"inputs": {name: (dtype name, shape)}, "outputs": …}} of a version, without loading it.

    A dimension of unknown size is None.
    """
    def tensors(infos):
        return {name: (tf.dtypes.as_dtype(info.dtype).name,
                       tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim))
                for name, info in sorted(infos.items())}

    graph = _read_saved_model(version).meta_graphs[0]
    return {name: {"inputs": tensors(signature.inputs), "outputs": tensors(signature.outputs)}
            for name, signature in sorted(graph.signature_def.items()) if not name.startswith("__")}


def configure(folder):
    """Adds the model in `folder` to the server settings next to it.

    Entries of other models and an existing entry of this model are unchanged.
    """
    folder = pathlib.Path(folder)
    path = folder.parent / "models.config"
    with files.lock(folder.parent, waiting=f"waiting for another process that is writing {path}"):
        config = _server_config(path)
        if folder.name not in [model.name for model in config.model_config_list.config]:
            config.model_config_list.config.add(
                name=folder.name, base_path=f"/models/{folder.name}", model_platform="tensorflow")
            files.write_text(path, text_format.MessageToString(config))
        for name, text in (("batching.config", _BATCHING), ("monitoring.config", _MONITORING)):
            if not (folder.parent / name).exists():
                files.write_text(folder.parent / name, text)


def _server_config(path):
    """Returns the server's list of models in a file, which is empty where there is no file."""
    from tensorflow_serving.config import model_server_config_pb2

    config = model_server_config_pb2.ModelServerConfig()
    if path.exists():
        try:
            text_format.Parse(path.read_text(encoding="utf-8"), config)
        except (text_format.ParseError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is not a valid ModelServerConfig ({error}): correct or remove it") from None
    return config


def check_tensorflow():
    """Raises a UserError if this TensorFlow is newer than the newest server."""
    ours, servers = (".".join(version.split(".")[:2]) for version in (tf.__version__, SERVER_VERSION))
    if tuple(map(int, ours.split("."))) > tuple(map(int, servers.split("."))):
        raise UserError(f"TensorFlow {ours} is newer than the newest TensorFlow Serving, {servers}, which may not load "
                        f"its exports: install TensorFlow {servers}, or export with --force")


def check_folder(folder):
    """Raises a UserError if no export can be made in a folder, which need not be there yet."""
    place = next(parent for parent in [folder.absolute(), *folder.absolute().parents] if parent.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        fault = "cannot be written to" if place.is_dir() else "is no folder"
        raise UserError(f"no export can be made in {folder}: {place} {fault}; name another folder with --saved-models")


def _write(path, model, signatures):
    archive = keras.export.ExportArchive()
    archive.track(model)
    for name, (function, specs) in signatures.items():
        named = [tf.TensorSpec(spec.shape, spec.dtype, name=input_name) for input_name, spec in specs.items()]
        # with an `input_signature`, saving would trace the function a second time
        endpoint = tf.function(_by_name(function, list(specs)), autograph=False)
        endpoint.get_concrete_function(*named)
        archive.add_endpoint(name, endpoint)
    archive.write_out(str(path), verbose=False)


def _by_name(function, names):
    """Returns `function` with positional inputs, as ExportArchive calls it, and float32 for every floating output."""
    def endpoint(*inputs):
        outputs = function(**dict(zip(names, inputs)))
        return {name: tf.cast(value, tf.float32) if value.dtype.is_floating else tf.identity(value)
                for name, value in outputs.items()}

    return endpoint


def _check_servable(path):
    """Refuses what a server refuses, too late: Python in the graph, and XLA, which is off in it on CPUs."""
    graph = _read_saved_model(path).meta_graphs[0].graph_def
    functions = graph.library.function
    for node in [*graph.node, *(node for function in functions for node in function.node_def)]:
        if node.op in ("PyFunc", "PyFuncStateless", "EagerPyFunc"):
            raise ValueError(f"the export calls Python ({node.name}), which a server does not have")
        if node.attr["_XlaMustCompile"].b:
            raise ValueError(f"the export must be compiled by XLA ({node.name}), which a server does not support on CPUs")
    for function in functions:
        if function.attr["_XlaMustCompile"].b:
            raise ValueError(f"the export must be compiled by XLA ({function.signature.name}): "
                             "a server does not support this on CPUs")


def _check_signature(folder, partial):
    versions = _versions(folder)
    if versions:
        difference = _difference(describe(folder / str(versions[-1])), describe(partial))
        if difference:
            raise UserError(f"clients of {folder / str(versions[-1])} would break: {difference}; "
                            "export to another folder with --saved-models, or use --force")


def _difference(old, new):
    """Returns the first difference that a client would notice as a sentence; a further signature is none."""
    for signature in old:
        if signature not in new:
            return f"the signature {signature} is gone"
        for side in ("inputs", "outputs"):
            before, after = old[signature][side], new[signature][side]
            for name in [*before, *(name for name in after if name not in before)]:
                if name not in after:
                    return f"{signature} no longer has {name} among its {side}"
                if name not in before:
                    return f"{signature} now has {name} among its {side}"
                if before[name] != after[name]:
                    return f"{name} of {signature} was {_words(before[name])} and is {_words(after[name])}"
    return None


def _words(tensor):
    dtype, shape = tensor
    return f"{dtype} ({', '.join('any' if size is None else str(size) for size in shape)})"


def _write_extras(partial, model_name, signatures, labels, warmup):
    extras = partial / "assets.extra"
    extras.mkdir()
    for name, lines in labels.items():
        (extras / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    with tf.io.TFRecordWriter(str(extras / WARMUP_FILE)) as writer:
        for name, (_, specs) in signatures.items():
            writer.write(_warmup_record(model_name, name, specs, warmup[name]))


def _warmup_record(model_name, signature, specs, inputs):
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    for name, spec in specs.items():
        request.inputs[name].CopyFrom(tensor_proto(inputs[name], spec.dtype))
    log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
    return log.SerializeToString()


def tensor_proto(value, dtype=None):
    """Returns a TensorProto; strings keep trailing zeros, and an empty list keeps its dimension."""
    if isinstance(value, tf.Tensor):
        value = value.numpy()
    if not isinstance(value, np.ndarray) and len(value) and isinstance(value[0], bytes):
        value = np.array(value, object)
    return tf.make_tensor_proto(value, dtype=dtype)


def _publish(folder, partial):
    """Renames a finished version to the next free number: a rename onto a version fails, and then the next is tried."""
    while True:
        version = folder / str((_versions(folder) or [0])[-1] + 1)
        try:
            os.rename(partial, version)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            continue
        files.sync_folder(folder)
        return version


def _versions(folder):
    """Returns the version numbers in a folder, ascending; a server reads the same names as numbers."""
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        return []
    names = [path.name for path in folder.iterdir() if path.is_dir()]
    return sorted(int(name) for name in names if name.isascii() and name.isdigit() and name == str(int(name)))


def _remove_stale(folder):
    """Removes what exports left that were killed: by a process of this machine that is gone, or a day ago."""
    for path in folder.glob(f"{_PARTIAL}*"):
        host, _, process = path.name.removeprefix(_PARTIAL).rpartition("-")
        is_gone = host == socket.gethostname() and process.isdigit() and not _is_alive(int(process))
        with contextlib.suppress(OSError):
            if is_gone or time.time() - path.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(path)


def _is_alive(process):
    if os.name != "posix":  # there a signal of 0 is no question but Ctrl-C
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _flush(folder):
    """Brings every file below a folder, and the names themselves, to the disk."""
    for path, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(path, name), "rb+") as file:  # Windows flushes only what may be written
                os.fsync(file.fileno())
        files.sync_folder(path)


def _read_saved_model(version):
    path = pathlib.Path(version) / "saved_model.pb"
    message = saved_model_pb2.SavedModel()
    message.ParseFromString(path.read_bytes())
    return message


@functools.lru_cache(maxsize=1)
def _load(version):
    if not os.path.exists(os.path.join(version, "saved_model.pb")):
        raise UserError(f"{version} is not an exported version: it has no saved_model.pb")
    try:
        if not _PATTERN_SIGNS & set(version):
            return tf.saved_model.load(version)
        with contextlib.chdir(version):  # TensorFlow takes the path of the variables for a pattern, but no path above it
            return tf.saved_model.load(".")
    except Exception as error:  # of a damaged one TensorFlow says so in many ways
        raise UserError(f"the export in {version} cannot be loaded: {first_line(error)}") from None
