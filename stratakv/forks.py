"""Noticing that this process is a child, with the open files of its parent.

A child shares these files with its parent, and with them their `flock` locks, which so keep neither of the
two out. It must close them and open its own before it writes. Python does what is registered here in each
child that it makes (`os.register_at_fork`). But uWSGI makes its workers in C, and Python hears nothing of it.
So there is a word that the kernel wipes in every child: who is about to take a lock looks at it.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from stratakv.files import Files
from stratakv.interrupted import new_turn, taken

HERE = Files().words_of_this_process()  # the first is 1; 0 in a child that has not noticed yet that it is one

_tasks: list[Callable[[], None]] = []
_noticing = new_turn()  # a signal handler may write in the midst of it


def in_each_child(task: Callable[[], None]) -> None:
    """Have `task` done in every child, before it is relied on that this process has what it had before."""
    _tasks.append(task)


def notice() -> None:
    """In a child that has not noticed yet that it is one, do what is to be done there.

    Before any other lock is taken: a thread may hold it that there is only in the parent.
    """
    with taken(_noticing):
        if not HERE[0]:
            _begin()


def _begin() -> None:
    for task in _tasks:
        task()
    HERE[0] = 1


def _after_fork_in_child() -> None:
    global _noticing
    _noticing = new_turn()
    _begin()


HERE[0] = 1
os.register_at_fork(after_in_child=_after_fork_in_child)
