"""Files that are whole or absent, and folders that one process at a time works in."""
import errno
import fcntl
import os
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

from training import UserError, runs
from training.engine import callbacks, files
from training.serving import export


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_replaces_what_was_there(tmp_path):
    path = tmp_path / "a.json"
    files.write_text(path, "old")
    with files.whole(str(path)) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_text() == "old" and temporary.parent == tmp_path
        assert list(tmp_path.glob("*.tmp")) == [temporary]  # which whoever clears up looks for
    assert path.read_text() == "new" and names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "a.json"
    files.write_text(path, "old")
    with pytest.raises(error):
        with files.whole(path) as temporary:
            temporary.write_text("half")
            raise error
    assert path.read_text() == "old" and names(tmp_path) == ["a.json"]


def test_a_text_that_cannot_be_written_leaves_what_was_there(tmp_path):
    files.write_text(tmp_path / "a.json", "é")
    with pytest.raises(UnicodeEncodeError):
        files.write_text(tmp_path / "a.json", "half\udc80")
    assert (tmp_path / "a.json").read_bytes() == "é".encode() and names(tmp_path) == ["a.json"]


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    files.write_text(tmp_path / "a.json", "old")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            files.write_text(tmp_path / "a.json", "new")
    assert (tmp_path / "a.json").read_text() == "old" and names(tmp_path) == ["a.json"]


def test_content_reaches_the_disk_before_its_name_and_then_the_folder_does(tmp_path, monkeypatch):
    order, sync, replace = [], os.fsync, os.replace

    def synced(descriptor):
        order.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        sync(descriptor)

    def replaced(old, new):
        order.append("replace")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    files.write_text(tmp_path / "a.json", "new")
    assert order == [f".a.json.{os.getpid()}.tmp", "replace", tmp_path.name]


@pytest.mark.parametrize("moment", ["", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"], ids=["whole", "killed"])
def test_a_kill_leaves_what_was_there(tmp_path, moment):
    (tmp_path / "a.txt").write_text("old")
    code = f"""
import sys
from training.engine import files
with files.whole(sys.argv[1]) as temporary:
    temporary.write_text("new")
    {moment or 'pass'}
assert not {{"tensorflow", "keras", "numpy"}} & set(sys.modules)
"""
    ended = subprocess.run([sys.executable, "-c", code, tmp_path / "a.txt"], timeout=60)
    assert ended.returncode == (-signal.SIGKILL if moment else 0)
    assert (tmp_path / "a.txt").read_text() == ("old" if moment else "new")
    assert len(list(tmp_path.glob("*.tmp"))) == bool(moment)


def test_weights_are_whole_and_what_a_kill_left_does_not_pile_up(tmp_path, monkeypatch):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    path = tmp_path / "best.weights.h5"
    (tmp_path / ".best.weights.h5").write_bytes(b"half")  # of a run that was killed while it wrote
    callbacks.write_weights(model, path)
    assert names(tmp_path) == ["best.weights.h5"]
    before = path.read_bytes()
    other = keras.models.clone_model(model)
    other.load_weights(path)
    np.testing.assert_array_equal(other.get_weights()[0], model.get_weights()[0])

    def half(temporary):
        temporary.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(model, "save_weights", half)
    with pytest.raises(OSError, match="No space left"):
        callbacks.write_weights(model, path)
    assert path.read_bytes() == before and names(tmp_path) == ["best.weights.h5"]


def test_many_that_want_one_new_folder_get_one_each(tmp_path):
    code = "import sys; from training.engine import files; [print(files.new_folder(sys.argv[1]).name) for _ in range(50)]"
    started = [subprocess.Popen([sys.executable, "-c", code, tmp_path / "runs" / "a"], stdout=subprocess.PIPE, text=True)
               for _ in range(3)]
    found = [name for process in started for name in process.communicate(timeout=60)[0].split()]
    assert len(found) == 150 and sorted(found) == names(tmp_path / "runs")
    assert {"a", "a-2", "a-150"} <= set(found)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_syncs_no_folder_costs_nothing(tmp_path, monkeypatch, number):
    sync = os.fsync

    def synced(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    files.write_text(tmp_path / "a.json", "new")
    assert (tmp_path / "a.json").read_text() == "new"


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_said_once(tmp_path, monkeypatch, capsys, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    files._report_no_locks.cache_clear()
    with files.lock(tmp_path), files.lock(tmp_path, waiting="waiting"):
        assert not runs.in_use(tmp_path)
    export.configure(tmp_path / "detection")
    assert (tmp_path / "models.config").is_file()
    said = capsys.readouterr()
    assert said.err.count("does not support locks") == said.err.count("\n") == 1 and not said.out


def test_hdf5_asks_for_no_locks():
    code = "import os, training; print(os.environ['HDF5_USE_FILE_LOCKING'])"
    environment = {name: value for name, value in os.environ.items() if name != "HDF5_USE_FILE_LOCKING"}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment)
    assert ended.stdout == "FALSE\n"


def test_a_folder_in_use_is_refused(tmp_path):
    with files.lock(tmp_path):
        with pytest.raises(UserError, match=rf"in use by another process \(id {os.getpid()}\)"):
            with files.lock(tmp_path):
                pass
    with files.lock(tmp_path):
        pass
