"""The maintenance process: `python -m stratakv.keep DIRECTORY OPTIONS`, started by a process that writes.

OPTIONS are those of `stratakv.open`, as JSON. It ends when there has been no work for a while; a failure is
its exit status, and whoever started it says so in their log, with the last line of its errors.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress

import stratakv
from stratakv.files import allow_all_descriptors
from stratakv.maintenance.keeper import DAMAGED

LINGER = 2.0  # seconds: starting a process for each segment would cost more than waiting for the next
_LOWEST_PRIORITY = 19  # of the disk, too: the kernel derives that from this


def main() -> None:
    """Do the maintenance of the store named on the command line until there is none."""
    path, options = sys.argv[1], json.loads(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # it was started by a thread that handles none
    with suppress(OSError):  # a wish only, which a filter of system calls may refuse
        os.nice(_LOWEST_PRIORITY)
    allow_all_descriptors()
    with stratakv.open(path, **options) as db:
        try:
            db.maintain(linger=LINGER)
        except stratakv.CorruptionError as damage:
            print(damage, file=sys.stderr)
            sys.exit(DAMAGED)


if __name__ == "__main__":  # pragma: no branch: nobody imports it
    main()
