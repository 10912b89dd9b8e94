"""How long work tells how far it is."""

from collections.abc import Callable

# Told bytes done and bytes in all, now and then; what it raises, such as KeyboardInterrupt, ends the work.
Progress = Callable[[int, int], None]
