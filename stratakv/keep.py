"""The maintenance process: `python -m stratakv.keep DIRECTORY OPTIONS [urgent]`, started by one that writes.

OPTIONS are those of `stratakv.open`, as JSON. It has a lower priority, unless its work is urgent. It ends
when there has been no work for a while, and at once where there is such a process already. A failure is its
exit status, and whoever started it says so in their log, with the last line of its errors.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from stratakv.errors import CorruptionError
from stratakv.maintenance.early_end import StoppedError
from stratakv.maintenance.keeper import DAMAGED, URGENT
from stratakv.open_stores import acquire, release
from stratakv.options import Options
from stratakv.processes import allow_all_descriptors, give_way

LINGER = 2.0  # seconds: starting a process for each segment would cost more than waiting for the next


def main() -> None:
    """Do the maintenance of the store named on the command line until there is none."""
    path, options = sys.argv[1], Options.parse(json.loads(sys.argv[2]))
    gives_way, parent = sys.argv[3:] != [URGENT], os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # it was started by a thread that handles none
    if gives_way:
        give_way()
    allow_all_descriptors()

    def pace(_read: int) -> None:
        if gives_way and os.getppid() != parent:
            raise StoppedError  # nobody is left to see that it falls behind

    store = acquire(path, options)
    try:
        store.maintenance.keep(LINGER, pace)
    except CorruptionError as damage:
        print(damage, file=sys.stderr)
        sys.exit(DAMAGED)
    finally:
        release(store)


if __name__ == "__main__":  # pragma: no branch: nobody imports it
    main()
