"""Where the answers for files go."""
import pathlib


def file_names(paths):
    """Returns a name for each file's answer; files of one name in several folders are numbered."""
    names = []
    for path in paths:
        stem = pathlib.Path(path).stem
        name, number = stem, 2
        while name in names:
            name, number = f"{stem}-{number}", number + 1
        names.append(name)
    return names
