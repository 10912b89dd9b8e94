"""System checks of the caches kept in StrataKV; the ids are stable and listed in docs/django.md."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.utils.module_loading import import_string

import stratakv
from stratakv_django import conf
from stratakv_django.cache import StrataKVCache


def check_caches(app_configs: object = None, **kwargs: Any) -> list[CheckMessage]:
    """Check every alias in CACHES whose backend is StrataKVCache or a subclass; no store is opened."""
    messages: list[CheckMessage] = []
    parsed: dict[str, conf.CacheSettings] = {}
    for alias, params in stratakv_aliases().items():
        try:
            parsed[alias] = conf.parse(params.get("LOCATION"), params)
        except conf.LocationError as error:
            messages.append(_error("E001", alias, str(error), "Give LOCATION an absolute path."))
        except conf.CacheOptionError as error:
            hint = "`help(stratakv.open)` describes the options in lower case, docs/django.md all of them."
            messages.append(_error("E002", alias, str(error), hint))
        else:
            messages += _relative(alias, params["LOCATION"])
            messages += _unread(alias, params)
            messages += _served(alias, parsed[alias])
            messages += _unmakeable(alias, parsed[alias])
            messages += _beyond_the_disk(alias, parsed[alias])
    return [*messages, *_contradictions(parsed), *_sessions(parsed)]


def check_budgets(app_configs: object = None, **kwargs: Any) -> list[CheckMessage]:
    """W005, with `check --deploy`: nothing limits what a cache takes, and nobody has said that it may."""
    return [
        Warning(
            f"CACHES[{alias!r}]: without max_bytes the cache grows until the disk is full.",
            hint="Set max_bytes in its OPTIONS, to 0 where it may.",
            id="stratakv.W005",
        )
        for alias, params in stratakv_aliases().items()
        if isinstance(given := params.get("OPTIONS", {}), Mapping) and given.get("max_bytes") is None
    ]


def stratakv_aliases() -> dict[str, dict[str, Any]]:
    """Return the aliases in CACHES that are kept in StrataKV, with their settings."""
    return {alias: params for alias, params in settings.CACHES.items() if _is_ours(params.get("BACKEND", ""))}


def _is_ours(backend: str) -> bool:
    try:
        loaded = import_string(backend)
    except ImportError:  # Django reports it when the cache is used
        return False
    return isinstance(loaded, type) and issubclass(loaded, StrataKVCache)


def _error(number: str, alias: str, message: str, hint: str) -> Error:
    stop = "" if message.endswith("?") else "."
    return Error(f"CACHES[{alias!r}]: {message}{stop}", hint=hint, id=f"stratakv.{number}")


def _relative(alias: str, location: Any) -> Iterator[CheckMessage]:
    """W001: where a relative path leads depends on where the process was started, or it is no path at all."""
    path = os.fspath(location)
    if not Path(path).is_absolute():
        expected = " Neither ~ nor a variable is replaced in it." if path[:1] in "~$" else ""
        yield Warning(
            f"CACHES[{alias!r}]: LOCATION {path!r} is not an absolute path.{expected}",
            hint="Give the directory as an absolute path, so that every process of the site finds the same.",
            id="stratakv.W001",
        )


def _unread(alias: str, params: dict[str, Any]) -> Iterator[CheckMessage]:
    """W003: left from another backend, as the SHARDS of diskcache. A subclass may read more than we do."""
    unread = [str(name) for name in params if name not in (*conf.BESIDE, "OPTIONS")]
    if unread and import_string(params["BACKEND"]) is StrataKVCache:
        yield Warning(
            f"CACHES[{alias!r}]: StrataKV has no use for {', '.join(unread)}.",
            hint="Take it out; what StrataKV can be told goes into OPTIONS.",
            id="stratakv.W003",
        )


def _served(alias: str, cache: conf.CacheSettings) -> Iterator[Error]:
    """E003: whoever may read the site's media or static files could read the cache."""
    for setting, root in _served_roots():
        if _real(cache.path).is_relative_to(_real(root)):
            message = f"LOCATION {cache.path} lies inside {setting} ({root}), which visitors can read"
            yield _error("E003", alias, message, "Move LOCATION out of it, for example to /var/cache.")


def _served_roots() -> Iterator[tuple[str, str]]:
    for setting in ("MEDIA_ROOT", "STATIC_ROOT"):
        if root := getattr(settings, setting, None):
            yield setting, os.fspath(root)
    for entry in getattr(settings, "STATICFILES_DIRS", ()):
        yield "STATICFILES_DIRS", os.fspath(entry[1] if isinstance(entry, list | tuple) else entry)


def _unmakeable(alias: str, cache: conf.CacheSettings) -> Iterator[Error]:
    """E004: the directory is missing and cannot be made, or is there and cannot be used."""
    path = Path(cache.path)
    try:
        there = _nearest(path)
    except OSError as refusal:  # a name that is too long, say, or a link to itself
        yield _error("E004", alias, f"{path} cannot be reached: {refusal.strerror}", "Change LOCATION.")
        return
    read_only = cache.engine.read_only
    if not there.is_dir():
        yield _error("E004", alias, f"{there} is not a directory", "Remove the file, or change LOCATION.")
    elif there != path and (read_only or not cache.engine.create):
        hint = "Make the store first, or drop the options 'create' and 'read_only'."
        yield _error("E004", alias, f"{path} does not exist and the options do not allow to make it", hint)
    elif not os.access(there, os.R_OK | os.X_OK | (0 if read_only else os.W_OK)):
        use = "used" if there == path else "made"
        hint = _for_user("chown -R USER" if there == path else "install -d -o USER -m 700", path)
        yield _error("E004", alias, f"{path} cannot be {use}: no permission on {there}", hint)
    elif there == path:
        try:
            stratakv.check_directory(path, cache.engine)
        except stratakv.StrataKVError as error:
            is_of_another = isinstance(error.__cause__, PermissionError)  # one who has made files in it
            hint = _for_user("chown -R USER", path) if is_of_another else "Until then the site has no cache."
            yield _error("E004", alias, str(error), hint)


def _for_user(command: str, path: Path) -> str:
    """Return the hint to run `command` on what root has made, or would have to make."""
    return f"As root: `{command} {quote(str(path))}`, where USER runs the site. Or change LOCATION."


def _beyond_the_disk(alias: str, cache: conf.CacheSettings) -> Iterator[CheckMessage]:
    """W002: the disk would be full before the budget is used up, and nothing would be evicted."""
    max_bytes = cache.engine.max_bytes or 0
    with suppress(OSError):  # E004 says what is wrong
        there = _nearest(Path(cache.path))
        size = shutil.disk_usage(there).total
        if max_bytes > size:
            yield Warning(
                f"CACHES[{alias!r}]: max_bytes {max_bytes:,} is more than the disk of {there} has, {size:,}.",
                hint="Give the cache less than the disk has to spare: only at max_bytes it begins to evict.",
                id="stratakv.W002",
            )


def _nearest(path: Path) -> Path:
    """Return the path itself or, where nothing is there yet, the next above it; raises OSError."""
    return next(parent for parent in (path, *path.parents) if _exists(parent))


def _exists(path: Path) -> bool:
    """Whether `path` is there, as far as this user may look; raises OSError for one that can never be."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False
    return True


def _contradictions(parsed: dict[str, conf.CacheSettings]) -> Iterator[Error]:
    """E005: a process opens a store once to write and once to read only, each with one set of options."""
    first: dict[tuple[Path, bool], str] = {}
    for alias, cache in parsed.items():
        other = first.setdefault((_real(cache.path), cache.engine.read_only), alias)
        if differing := cache.engine.differing(parsed[other].engine):
            message = f"shares its LOCATION with {other!r} but not the options {', '.join(differing)}"
            yield _error("E005", alias, message, "Give both the same options, or each a LOCATION of its own.")


def _sessions(parsed: dict[str, conf.CacheSettings]) -> Iterator[CheckMessage]:
    """W004: Django takes a session that was not saved for a key that is taken, and tries 10,000 others."""
    alias = settings.SESSION_CACHE_ALIAS
    in_cache = settings.SESSION_ENGINE == "django.contrib.sessions.backends.cache"
    if in_cache and alias in parsed and not parsed[alias].strict:
        yield Warning(
            f"CACHES[{alias!r}]: sessions are kept in this cache, and it is not strict.",
            hint="Set its option 'strict'; else each request takes seconds while the cache cannot be used.",
            id="stratakv.W004",
        )


def _real(path: str) -> Path:
    # Not `Path.resolve`: before Python 3.13 it raises RuntimeError where a link leads to itself.
    return Path(os.path.realpath(path))
