"""Files that are written atomically, and folders that one process at a time may use.

This module imports neither TensorFlow nor NumPy, so commands that only read files start fast.
"""
import contextlib
import errno
import functools
import itertools
import os
import pathlib
import sys

from training.config import UserError


@contextlib.contextmanager
def whole(path, temporary_name=None):
    """Yields a temporary path next to `path`, and renames the written file to `path` when the context ends.

    However the process ends, `path` has either its complete new content or its previous content, even after a power failure.
    When the context ends with an error, the temporary file is removed and `path` is unchanged. A killed process may leave a
    file `.<name>.<process>.tmp`.

    path:           path of the file
    temporary_name: file name in the same folder, if the writer needs a certain extension; it should begin with a dot. Because
                    the name is the same for every process, only one process at a time may write the file.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(temporary_name or f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as file:  # Windows flushes only what may be written
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_text(path, text):
    """Writes a text as UTF-8 atomically: `path` contains either all of it or its previous content.

    path: path of the file
    text: its new content
    """
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def new_folder(folder):
    """Creates a new folder and returns it; if the name is taken, the next free number is appended.

    Processes that use the same name at the same time get different folders.

    folder: the preferred folder; `runs/a` becomes `runs/a-2`, `runs/a-3` and so on
    """
    folder = pathlib.Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        path = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return path


def sync_folder(folder):
    """Writes the directory entries of a folder to disk, so that a new name survives a power failure.

    Windows and some network file systems do not support this.

    folder: the folder itself, without its subfolders
    """
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
                raise
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def lock(folder, waiting=None):
    """Locks `folder` for this process while the context lasts; the system releases the lock when the process ends.

    A file system without locks is reported once, and the folder is not locked.

    folder:  an existing folder
    waiting: message to print before waiting for another process; None: do not wait

    Raises:
        UserError: another process has locked the folder, and `waiting` is None.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    path = pathlib.Path(folder) / ".lock"
    with open(path, "a+") as file:
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not waiting:
                    file.seek(0)
                    raise UserError(f"{folder} is in use by another process (id {file.read(20).strip() or 'unknown'}): "
                                    "wait for it or choose another --name") from None
                print(waiting, flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            _report_no_locks(error.strerror)
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


@functools.lru_cache(maxsize=None)
def _report_no_locks(why):
    """Says it once in each process."""
    print(f"note: this file system does not support locks ({why}): do not use one folder from two programs", file=sys.stderr,
          flush=True)
