"""Methods that a base class leaves to its subclasses."""


def must_define(cls, base, *names):
    """Refuses a subclass without these methods when it is defined, not at its first use in a training or an export.

    cls:   the subclass, from `__init_subclass__` of its base
    base:  the base class
    names: methods without an implementation in the base

    Raises:
        TypeError: a method is missing.
    """
    missing = [name for name in names if getattr(cls, name) is getattr(base, name)]
    if missing:
        raise TypeError(f"{cls.__name__} must define {', '.join(missing)}")
