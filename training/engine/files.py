"""Files that are whole or absent, and folders that one process at a time works in.

This module imports no TensorFlow and no numpy, so that commands which only look at files answer at once.
"""
import contextlib
import os
import pathlib

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
    """Writes a text as UTF-8 so that `path` holds all of it or what it held before.

    path: of the file
    text: its new content
    """
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sync_folder(folder):
    """Brings the names in a folder to the disk, so that a new one outlives a power cut too; Windows cannot be told to.

    folder: whose names they are, not those of the folders in it
    """
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def lock(folder, waiting=None):
    """Keeps `folder` for this process as long as the context lasts; the system lets go of it when the process dies.

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
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not waiting:
                file.seek(0)
                raise UserError(f"{folder} is in use by another run (process {file.read(20).strip() or 'unknown'}): "
                                "wait for it or choose another --name") from None
            print(waiting, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            pass
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
