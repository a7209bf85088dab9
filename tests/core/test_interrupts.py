from __future__ import annotations

import os
import signal
import threading

import pytest

from labelgan.core.interrupts import Interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_wish_and_the_second_interrupts(number):
    with Interrupts() as interrupts:
        assert not interrupts.wanted
        os.kill(os.getpid(), number)
        assert interrupts.wanted
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)


def _fail_inside(handlers: list[object]) -> None:
    with Interrupts():
        handlers.append(signal.getsignal(signal.SIGINT))
        raise KeyError


def test_handlers_are_put_back_whatever_happens():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    inside: list[object] = []
    with pytest.raises(KeyError):
        _fail_inside(inside)
    assert inside[0] != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_outside_the_main_thread_it_does_nothing():
    before, outcome = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with Interrupts() as interrupts:
            outcome.append((interrupts.wanted, signal.getsignal(signal.SIGINT) == before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert outcome == [(False, True)]
