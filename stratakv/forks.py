"""Noticing that this process is a child, with the open files of its parent.

A child shares these files with its parent, and with them their `flock` locks, which so keep neither of the
two out. It must close them and open its own before it writes. Python does what is registered here in each
child that it makes (`os.register_at_fork`). But uWSGI makes its workers in C, and Python hears nothing of it.
So there is a word that the kernel wipes in every child. It is looked at before a lock is taken that a child
may have from its parent. Lookups take none, so a child that only reads does not notice.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from stratakv.files import Files

HERE = Files().words_of_this_process()  # the first is 1; 0 in a child that has not noticed yet that it is one

_tasks: list[Callable[[], None]] = []
_noticing = threading.RLock()  # a signal handler may write in the midst of it


def in_each_child(task: Callable[[], None]) -> None:
    """Have `task` done in every child, before it is relied on that this process has what it had before."""
    _tasks.append(task)


def notice() -> None:
    """In a child that has not noticed yet that it is one, do what is to be done there.

    Before any other lock is taken: a thread may hold it that there is only in the parent.
    """
    if not HERE[0]:
        with _noticing:
            if not HERE[0]:
                _begin()
                HERE[0] = 1


def _begin() -> None:
    for task in _tasks:
        task()


def _after_fork_in_child() -> None:
    global _noticing
    _noticing = threading.RLock()
    # HERE stays 0: once more at the first write, as only then locks are of the kind that this process has.
    # With `gunicorn --preload`, gevent replaces them behind the fork; a greenlet that waits for one of before
    # that stops all of its process.
    _begin()


HERE[0] = 1
os.register_at_fork(after_in_child=_after_fork_in_child)
