"""`python -m tests.support.greenlets DIR DURABILITY`: many greenlets of one thread use a store and a cache.

Under gevent, locks and sleeps switch to another greenlet: one that waits for what its own thread holds must
let it go on, and what is meant for threads must tell greenlets apart.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import signal  # noqa: E402, these must be imported patched
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import django  # noqa: E402
import gevent  # noqa: E402
from django.conf import settings  # noqa: E402

import stratakv  # noqa: E402

GREENLETS, TIMES = 20, 40
PATIENCE = 60  # seconds


def together(*greenlets: gevent.Greenlet[..., object]) -> list[object]:
    """Return what they return; raises where one did, or where they wait for each other for ever."""
    gevent.joinall(greenlets, timeout=PATIENCE, raise_error=True)
    assert all(each.dead for each in greenlets), "they wait for each other"
    return [each.value for each in greenlets]


def use_a_store(path: Path, durability: str) -> None:
    with stratakv.open(path, durability=durability, sync_interval=0.05, segment_bytes=64 * 1024) as db:

        def work(name: int) -> None:
            for turn in range(TIMES):
                key = b"%d-%d" % (name, turn)
                db.put(key, bytes(1000))
                db.incr(b"operations")
                gevent.sleep()
                assert db.get(key) == bytes(1000)
                if turn % 10 == 0:
                    with db.transaction() as tx:
                        before = int(tx.get(b"transactions") or b"0")
                        gevent.sleep(0.001)
                        tx.put(b"transactions", b"%d" % (before + 1))
                    with db.lock(b"lock"):
                        value = int(db.get(b"locked", b"0"))
                        gevent.sleep(0.001)
                        db.put(b"locked", b"%d" % (value + 1))

        together(*(gevent.spawn(work, name) for name in range(GREENLETS)))
        assert int(db.get(b"operations", b"")) == GREENLETS * TIMES
        assert db.get(b"transactions") == db.get(b"locked") == b"%d" % (GREENLETS * TIMES // 10)
        assert db.verify().ok
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()), "this is the thread that handles signals"


def use_a_cache(path: Path, durability: str) -> None:
    backend = "stratakv_django.cache.StrataKVCache"
    options = {"LOCATION": path, "OPTIONS": {"durability": durability, "strict": True}}
    settings.configure(SECRET_KEY="secret", CACHES={"default": {"BACKEND": backend, **options}})
    django.setup()
    from django.core.cache import cache

    made: list[str] = []

    def make() -> str:
        made.append("page")
        gevent.sleep(0.1)
        return "page"

    pages = together(*(gevent.spawn(cache.get_or_set, "key", make) for _ in range(GREENLETS)))
    assert pages == ["page"] * GREENLETS
    assert made == ["page"], "one of them makes it, and the others wait for that"


if __name__ == "__main__":
    use_a_store(Path(sys.argv[1]) / "store", sys.argv[2])
    use_a_cache(Path(sys.argv[1]) / "cache", sys.argv[2])
