"""A student's function may do anything: the kernel and everything in it stay as they were."""

import random
import subprocess
import sys
import threading
import time

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from frcnn_lessons.exercises.running import LONGEST_PRINT, MOST_LINES, OutOfTime, place_of, run_safely

SHORT = 0.2  # seconds

pytestmark = pytest.mark.usefixtures("without_a_window")


def forever():
    while True:
        pass


def forever_in_torch():
    table = torch.zeros(50, 50)
    while True:
        table = table @ table


def forever_asleep():
    while True:
        time.sleep(10)


def forever_behind_a_bare_except():
    while True:
        try:  # noqa: SIM105
            time.sleep(10)
        except:  # noqa: E722
            pass


def forever_behind_two():
    while True:
        try:
            forever_behind_a_bare_except()
        except BaseException:
            continue


@pytest.mark.skipif(sys.platform == "win32", reason="an interval timer is needed")
@pytest.mark.parametrize(
    "loop", [forever, forever_in_torch, forever_asleep, forever_behind_a_bare_except, forever_behind_two]
)
def test_an_endless_loop_is_ended(loop):
    tracing = sys.gettrace()  # of a debugger, or of what measures coverage
    outcome = run_safely(loop, (), SHORT)
    assert isinstance(outcome.error, OutOfTime)
    assert sys.gettrace() is tracing
    time.sleep(0.1)  # nothing goes off afterwards
    assert run_safely(lambda: 3, (), SHORT).value == 3


@pytest.mark.parametrize("loop", [forever, forever_in_torch])
def test_an_endless_loop_is_ended_without_a_timer_as_well(loop):
    # In another thread the timer cannot be used: this is the way that Windows has.
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(run_safely(loop, (), SHORT)), daemon=True)
    thread.start()
    thread.join(30)
    assert isinstance(outcomes[0].error, OutOfTime)


def test_a_function_that_is_quick_enough_is_left_alone():
    assert run_safely(lambda a, b: a + b, (1, 2), SHORT).value == 3


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), RecursionError(), MemoryError(), GeneratorExit()])
def test_whatever_is_raised_is_noted(error):
    def fail():
        raise error

    outcome = run_safely(fail, (), SHORT)
    assert outcome.error is error
    assert place_of(error, fail).endswith("`raise error`")


def test_interrupting_the_kernel_stops_the_check():
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_safely(interrupted, (), SHORT)


def test_floods_of_print_are_cut():
    def flood():
        for number in range(10_000):
            print("line", number)

    printed = run_safely(flood, (), 5).printed
    assert printed.startswith("line 0\nline 1\n")
    assert len(printed.splitlines()) == MOST_LINES + 1
    long = run_safely(lambda: print("x" * 10_000_000), (), 5).printed
    assert len(long) < LONGEST_PRINT + 100
    both = run_safely(lambda: (print("out"), print("err", file=sys.stderr)), (), 5).printed
    assert both == "out\nerr\n"


def test_everything_is_left_as_it_was():
    def untidy():
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        random.seed(0)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        plt.figure()

    mine = plt.figure()
    torch.manual_seed(3)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    outcome = run_safely(untidy, (), 5)
    assert outcome.error is None
    assert outcome.drew
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]  # noqa: NPY002
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert plt.get_fignums() == [mine.number]


@pytest.mark.parametrize("draws", [lambda: torch.rand(1), lambda: np.random.rand(), random.random])  # noqa: NPY002
def test_global_random_numbers_are_noticed(draws):
    assert run_safely(draws, (), SHORT).drew
    generator = torch.Generator().manual_seed(0)
    assert not run_safely(lambda: torch.rand(1, generator=generator), (), SHORT).drew


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="an interval timer is needed")
def test_a_signal_handler_of_the_user_is_put_back():
    code = """
import signal
from frcnn_lessons.exercises.running import run_safely
def mine(*_): pass
signal.signal(signal.SIGALRM, mine)
def forever():
    while True: pass
print(type(run_safely(forever, (), 0.1).error).__name__, signal.getsignal(signal.SIGALRM) is mine, signal.getitimer(0))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "OutOfTime True (0.0, 0.0)\n", done.stderr
