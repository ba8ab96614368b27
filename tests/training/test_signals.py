"""What a process does at SIGTERM and at Ctrl-C."""
import os
import signal
import threading

import pytest

from training.engine import signals

BOTH = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(autouse=True)
def _handlers_come_back(interruptible):
    before = [signal.getsignal(number) for number in BOTH]
    yield
    assert [signal.getsignal(number) for number in BOTH] == before


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_is_remembered(number):
    with signals.saving() as received:
        assert received.number == 0
        os.kill(os.getpid(), number)
        assert received.number == number


def test_a_second_interrupt_works_at_once():
    with pytest.raises(KeyboardInterrupt):
        with signals.saving() as received:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)  # of which any number is no reason to hurry
            assert received.number == signal.SIGTERM
            os.kill(os.getpid(), signal.SIGINT)


def test_a_loop_that_saves_nothing_is_interrupted():
    with pytest.raises(KeyboardInterrupt):
        with signals.saving(wanted=False) as received:
            os.kill(os.getpid(), signal.SIGINT)
    assert received.number == 0


def test_a_termination_ends_with_a_message(capsys):
    with pytest.raises(SystemExit) as ended:
        with signals.leaving("stopped; continue with --resume"):
            with signals.saving() as received:  # takes its turn inside
                os.kill(os.getpid(), signal.SIGTERM)
            assert received.number == signal.SIGTERM and not capsys.readouterr().err
            os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 143 and capsys.readouterr().err == "stopped; continue with --resume\n"


def test_leaving_after_an_interrupt_is_an_interrupt(capsys):
    with pytest.raises(KeyboardInterrupt):
        signals.leave(signal.SIGINT, "stopped")
    assert not capsys.readouterr().err


def test_another_thread_leaves_the_signals_alone():
    found = []

    def work():
        with signals.leaving("stopped"), signals.saving() as received:
            found.append((received.number, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(0, signal.getsignal(signal.SIGTERM))]


def test_what_only_waits_in_tensorflow_ends_at_once():
    with signals.leaving("stopped"):
        before = signal.getsignal(signal.SIGTERM)
        with signals.ending():
            assert signal.getsignal(signal.SIGTERM) == signal.getsignal(signal.SIGINT) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is before
