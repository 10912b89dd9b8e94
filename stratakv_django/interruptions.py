"""Telling what a signal handler raises in the midst of a cache call from an error of the cache.

A time limit, as Celery's or one by `signal.alarm`, is for whoever has set it, and no reason to call an entry
a bad one or the disk a broken one. It may be of any type: `TimeoutError` is an OSError.
"""

from __future__ import annotations

import signal
from types import CodeType
from typing import Any


def is_from_a_signal(error: BaseException) -> bool:
    """Whether a signal handler has raised `error`, one that is set now."""
    handlers = {_code(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    trace = error.__traceback__
    while trace:
        if trace.tb_frame.f_code in handlers:
            return True
        trace = trace.tb_next
    return False


def _code(handler: Any) -> CodeType | None:
    """Return the code that runs when `handler` is called; None where that is not Python's."""
    if handler is None or isinstance(handler, signal.Handlers):  # SIG_DFL and SIG_IGN are called by nobody
        return None
    function = getattr(handler, "func", handler)  # of a partial
    if not hasattr(function, "__code__"):  # an object with a method for it
        function = type(function).__call__
    return getattr(function, "__code__", None)
