"""The site's secret key: made once, kept in a file that only its owner can read."""

import os
from pathlib import Path

from django.core.management.utils import get_random_secret_key


def secret_key(path: Path) -> str:
    """The key in this file, made now if there is none; processes that start together agree on one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        _offer(path, get_random_secret_key())
    return path.read_text()


def _offer(path: Path, key: str) -> None:
    mine = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(key)
    try:
        os.link(mine, path)  # whole or not at all, and only the first
    except FileExistsError:
        pass
    finally:
        mine.unlink()
