"""The maintenance process: `python -m stratakv.keep DIRECTORY OPTIONS [urgent]`, started by one that writes.

OPTIONS are those of `stratakv.open`, as JSON. It gives way to all others, unless its work is urgent. It ends
when there has been no work for a while; a failure is its exit status, and whoever started it says so in their
log, with the last line of its errors.
"""

from __future__ import annotations

import json
import signal
import sys

import stratakv
from stratakv.files import allow_all_descriptors, give_way
from stratakv.maintenance.keeper import DAMAGED, URGENT

LINGER = 2.0  # seconds: starting a process for each segment would cost more than waiting for the next


def main() -> None:
    """Do the maintenance of the store named on the command line until there is none."""
    path, options = sys.argv[1], json.loads(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # it was started by a thread that handles none
    if sys.argv[3:] != [URGENT]:
        give_way()
    allow_all_descriptors()
    with stratakv.open(path, **options) as db:
        try:
            db.maintain(linger=LINGER)
        except stratakv.CorruptionError as damage:
            print(damage, file=sys.stderr)
            sys.exit(DAMAGED)


if __name__ == "__main__":  # pragma: no branch: nobody imports it
    main()
