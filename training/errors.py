"""The error that a command shows as one sentence."""


class UserError(Exception):
    """A problem that the user can fix: the command prints this one sentence and exits with code 2."""
