"""The error that a command shows as one sentence."""


class UserError(Exception):
    """A problem that the user can fix: the command prints this one sentence and exits with code 2."""


def first_line(error, most=300):
    """Returns the first line of an error's message, or the name of its type if it has none; `most` characters at most."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:most]
