"""Handling of SIGTERM, for example from a cluster that preempts the job, and of Ctrl-C."""
import contextlib
import signal
import sys
import threading


class Received:
    """The last signal received, checked by the loop between steps; a second Ctrl-C takes effect immediately."""

    number = 0
    """number of the signal; 0: none received"""

    def __call__(self, number, frame):
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number


@contextlib.contextmanager
def saving(wanted=True):
    """Yields a Received that records SIGTERM and Ctrl-C while the context lasts, so that a loop can save first.

    wanted: if false, signals are not intercepted, for a loop that saves nothing; nor are they outside the main thread.
    """
    received = Received()
    with _handled(received, signal.SIGTERM, signal.SIGINT) if wanted else contextlib.nullcontext():
        yield received


@contextlib.contextmanager
def leaving(message):
    """Ends the process with `message` at SIGTERM, unless a `saving` inside the context records the signal.

    message: a sentence for standard error
    """
    with _handled(lambda number, frame: leave(number, message), signal.SIGTERM):
        yield


@contextlib.contextmanager
def ending():
    """Lets SIGTERM and Ctrl-C end the process at once, while it waits inside TensorFlow, which does not check signals."""
    with _handled(signal.SIG_DFL, signal.SIGTERM, signal.SIGINT):
        yield


def leave(number, message):
    """Ends the process because of a signal: prints `message` and exits with code 128 + number.

    number:  of the signal; Ctrl-C raises KeyboardInterrupt instead, without the message
    message: a sentence for standard error
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    print(message, file=sys.stderr, flush=True)
    sys.exit(128 + number)


@contextlib.contextmanager
def _handled(handler, *numbers):
    """Lets `handler` take the signals of these numbers; Python allows it in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
