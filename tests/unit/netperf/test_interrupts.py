from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from peers import clean_environment

from xenrr.netperf.interrupts import Interrupts

PROGRAM = """
import os, signal, sys
from xenrr.netperf.interrupts import Interrupts
# Whoever started the tests in the background has it ignored.
signal.signal(signal.SIGINT,
              signal.SIG_IGN if "ignored" in sys.argv else signal.default_int_handler)
with Interrupts() as interrupts:
    if "running" in sys.argv:
        interrupts.running(lambda: None)
    for name in filter(str.isupper, sys.argv):
        os.kill(os.getpid(), signal.Signals[name])
print("asked" if interrupts.asked else "not asked")
"""


def outcome(*words):
    done = subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True,
                          text=True, env=clean_environment(), timeout=30, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout.strip()


@pytest.mark.parametrize(("words", "code", "text"), [
    (["SIGINT"], -signal.SIGINT, ""), (["SIGALRM"], -signal.SIGALRM, ""),
    (["ignored", "SIGINT"], 0, "not asked"), (["ignored", "running", "SIGINT"], 0, "asked"),
    (["running", "SIGINT"], 0, "asked"), (["running", "SIGALRM"], 0, "asked"),
    (["running", "SIGALRM", "SIGALRM"], 0, "asked"),
    (["running", "SIGINT", "SIGINT"], -signal.SIGINT, ""),
    (["running", "SIGALRM", "SIGINT"], -signal.SIGINT, ""),
])
def test_what_a_signal_does(words, code, text):
    assert outcome(*words) == (code, text)


def test_a_stop_asked_for_between_two_tests_reaches_the_next():
    stops = []
    with Interrupts() as interrupts:
        interrupts.running(lambda: stops.append(1))
        os.kill(os.getpid(), signal.SIGINT)
        interrupts.running(lambda: stops.append(2))
    assert stops == [1, 2]
