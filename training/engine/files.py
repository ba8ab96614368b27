"""Files that are whole or absent, and folders that one process at a time works in.

This module imports no TensorFlow and no numpy, so that commands which only look at files answer at once.
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
    """Yields a temporary path beside `path` to write to, and renames what was written onto `path` when the context ends.

    However the process ends, `path` holds all of the new content or what it held before, after a power cut too. When the
    context ends with an error, the temporary file is removed and `path` stays as it is. What a kill leaves behind is called
    `.<name>.<process>.tmp`.

    path:           of the file
    temporary_name: file name in the same folder, where the writer asks for a certain ending; it should begin with a dot. Since
                    it is the same for every process, only one at a time may write the file.
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

    path: of the file
    text: its new content
    """
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def new_folder(folder):
    """Makes a folder that was not there and returns it; where the name is taken, the next free number is added to it.

    Of several processes that ask for one name at the same moment each gets a folder of its own.

    folder: that is wanted; `runs/a` becomes `runs/a-2`, `runs/a-3` and so on
    """
    folder = pathlib.Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        path = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return path


def sync_folder(folder):
    """Brings the names in a folder to the disk, so that a new one outlives a power cut too.

    Windows cannot be told to, and some network file systems neither.

    folder: whose names they are, not those of the folders in it
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
    """Keeps `folder` for this process as long as the context lasts; the system lets go of it when the process dies.

    On a file system without locks it is not kept, which is said once.

    folder:  that must exist
    waiting: what to say before waiting for another process that holds it; None: do not wait

    Raises:
        UserError: another process holds it, and there is no waiting.
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
