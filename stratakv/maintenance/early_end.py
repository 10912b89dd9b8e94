"""What may end a task of maintenance before it is done: the errors that do, and who is asked on the way.

None of these does any harm: the manifest does not name what a task writes until the task is done.
"""

from __future__ import annotations

from collections.abc import Callable

# Told how many bytes of log each step of a task has read. It raises StoppedError where the task is to end.
Pace = Callable[[int], None]

# Told which file, by its descriptor, is about to grow up to which offset. It raises NoRoomError where the
# budget has no room for that, and OSError where the disk has none.
Take = Callable[[int, int], None]


class StoppedError(Exception):
    """Whoever is at work is asked to end."""


class SupersededError(Exception):
    """What a task was about has left the store meanwhile, and nothing is wrong."""


class NoRoomError(Exception):
    """What a task would write does not fit into the budget beside what the store holds."""
