"""`python -m tests.support.patched_late DIR`: gevent replaces the locks of Python behind a fork.

So it is with `gunicorn --preload`, and the store is open by then. Status 0 where the greenlets of the child
do not stop each other.
"""

from __future__ import annotations

import os
import signal
import sys

import stratakv

GREENLETS, TIMES, PATIENCE = 20, 40, 60

db = stratakv.open(sys.argv[1], durability="interval", segment_bytes=64 * 1024)
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

signal.alarm(PATIENCE)  # gevent cannot tell, as nothing of it runs
from gevent import monkey  # noqa: E402

monkey.patch_all()

import gevent  # noqa: E402


def work(name: int) -> None:
    for turn in range(TIMES):
        db.put(b"%d-%d" % (name, turn), bytes(1000))
        gevent.sleep(0)


gevent.joinall([gevent.spawn(work, name) for name in range(GREENLETS)], raise_error=True)
assert len(list(db.keys())) == GREENLETS * TIMES
db.close()
os._exit(0)
