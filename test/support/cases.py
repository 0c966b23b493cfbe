"""Runs the cases of a test script and says what ran.

    script.py [part of a name ...]     only the cases whose names contain one of the parts

A case is a function marked with @case, without parameters, whose name is a sentence. It fails by
raising; it raises Skip, with the reason, when the machine or a client cannot do what it needs.
Skips are listed again at the end, so that none goes unseen.
"""

import sys
import time
import traceback

_cases = []


class Skip(Exception):
    """What this machine or this client lacks."""


def case(function):
    _cases.append(function)
    return function


def expect(holds, message):
    if not holds:
        raise AssertionError(message)


def expect_equal(found, wanted, what):
    if found != wanted:
        raise AssertionError(f"{what}: found {_shorten(found)}, expected {_shorten(wanted)}")


def _shorten(value):
    text = repr(value)
    return text if len(text) <= 400 else f"{text[:400]}... ({len(text)} characters)"


def run(arguments):
    """Runs the cases that `arguments` names, or all; returns the exit code of the script."""
    failed, skipped = [], []
    for each in _cases:
        name = each.__name__.replace("_", " ")
        if arguments and not any(part.replace("_", " ") in name for part in arguments):
            continue
        begin = time.monotonic()
        try:
            each()
            outcome = "ok  "
        except Skip as reason:
            outcome = "skip"
            skipped.append(f"{name}: {reason}")
        except Exception:  # Whatever a client library raises is a failed case, not the end of the run.
            outcome = "FAIL"
            failed.append(name)
            traceback.print_exc(file=sys.stdout)
        print(f"{outcome} {name} ({time.monotonic() - begin:.1f} s)", flush=True)
    for text in skipped:
        print(f"SKIPPED {text}")
    for text in failed:
        print(f"FAILED {text}")
    return 1 if failed else 0
