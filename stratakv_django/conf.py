"""The settings of one cache alias, read and checked in one place; no file is touched here.

    CACHES = {"default": {"BACKEND": ..., "LOCATION": directory, "OPTIONS": {...}, ...}}

OPTIONS holds the engine's options in lower case (see `stratakv.open`), `strict` and `key_warnings`, and
Django's own MAX_ENTRIES and CULL_FREQUENCY. Without `max_bytes` the store has no budget, even if it
had one. TIMEOUT, KEY_PREFIX, VERSION and KEY_FUNCTION are read by Django's `BaseCache`.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

import stratakv

UNLIMITED = sys.maxsize  # the MAX_ENTRIES of an alias that was given none
DEFAULT_CULL_FREQUENCY = 3  # as in Django
_DEFAULT_DURABILITY = "interval"
_UPPER_CASE = ("MAX_ENTRIES", "CULL_FREQUENCY")
_BACKEND_OPTIONS = ("strict", "key_warnings", *_UPPER_CASE)
BESIDE = ("TIMEOUT", "KEY_PREFIX", "VERSION", "KEY_FUNCTION", "LOCATION", "BACKEND")
_ADDRESS = re.compile(r"unix:.*|[^/]+:\d+")  # as Memcached's: no directory that anybody means
_ENGINE_OPTIONS = tuple(field.name for field in dataclasses.fields(stratakv.Options))


class LocationError(ImproperlyConfigured):
    """LOCATION is missing, or is no path."""


class CacheOptionError(ImproperlyConfigured):
    """Something in OPTIONS is unknown or has a wrong value."""


@dataclasses.dataclass(frozen=True, slots=True)
class CacheSettings:
    """path: the store's directory, absolute.
    engine: the options for `stratakv.open`.
    strict: raise storage errors instead of answering with a miss.
    key_warnings: warn about keys that memcached would refuse.
    max_entries, cull_frequency: as in Django; UNLIMITED unless given.
    """

    path: str = ""
    engine: stratakv.Options = dataclasses.field(default_factory=stratakv.Options)
    strict: bool = False
    key_warnings: bool = False
    max_entries: int = UNLIMITED
    cull_frequency: int = DEFAULT_CULL_FREQUENCY


def parse(location: object, params: Mapping[str, Any]) -> CacheSettings:
    """Return the settings in one alias of CACHES; raises LocationError or CacheOptionError."""
    for name in params:
        inside = name if name in _UPPER_CASE else str(name).lower()  # Django reads those in lower case here
        if inside in (*_ENGINE_OPTIONS, *_BACKEND_OPTIONS):
            raise CacheOptionError(f"{name} has no effect outside OPTIONS: put {inside!r} into them")
        if name != "OPTIONS" and difflib.get_close_matches(str(name).upper(), ["OPTIONS"], cutoff=0.8):
            raise CacheOptionError(f"{name} does nothing: did you mean 'OPTIONS'?")
    given = params.get("OPTIONS", {})
    if not isinstance(given, Mapping):
        raise CacheOptionError(f"OPTIONS must be a dict, not {given!r}")
    options = dict(given)
    max_entries = params.get("max_entries", options.pop("MAX_ENTRIES", None))
    cull_frequency = params.get("cull_frequency", options.pop("CULL_FREQUENCY", DEFAULT_CULL_FREQUENCY))
    if options.get("max_bytes") is None:
        # The settings are the truth: who takes the budget out of them wants none. To the engine, None would
        # leave the one that the store has from before.
        options["max_bytes"] = 0
    return CacheSettings(
        path=_path(location),
        strict=_flag("strict", options.pop("strict", False)),
        key_warnings=_flag("key_warnings", options.pop("key_warnings", False)),
        max_entries=UNLIMITED if max_entries is None else _count("MAX_ENTRIES", max_entries),
        cull_frequency=_count("CULL_FREQUENCY", cull_frequency),
        engine=_engine({"durability": _DEFAULT_DURABILITY, **options}),
    )


def _path(location: object) -> str:
    if not location:
        raise LocationError("LOCATION is missing: it names the directory of the store")
    path: object = None
    with suppress(TypeError):  # also of a lazy object, which says that it is a str
        path = os.fspath(location)  # type: ignore[call-overload]
    if not isinstance(path, str):
        raise LocationError(
            "LOCATION must be the path of a directory, as a str or a Path, "
            f"not of the type {type(location).__name__}: {location!r}"
        )
    if "\0" in path:
        raise LocationError(f"LOCATION {path!r} has a null byte in it, which no path can have")
    try:
        os.fsencode(path)
    except UnicodeEncodeError as error:
        wrong = path[error.start : error.end]
        raise LocationError(f"LOCATION {path!r} has {wrong!r} in it, which no path can have") from error
    # Left from another backend; it would be a directory "redis:" where the site was started.
    if "://" in path or _ADDRESS.fullmatch(path):
        raise LocationError(
            f"LOCATION must be the path of a directory, not the address of a server, {path!r}"
        )
    return path if path.startswith("/") else str(Path(path).absolute())


def _engine(options: dict[str, Any]) -> stratakv.Options:
    for name in options:
        if name not in _ENGINE_OPTIONS:
            raise CacheOptionError(f"OPTIONS: unknown option {name!r}: {_nearest(name)}")
    try:
        return stratakv.Options.parse(options)
    except stratakv.OptionError as error:
        raise CacheOptionError(f"OPTIONS: {error}") from error


def _nearest(name: object) -> str:
    if str(name).upper() in BESIDE:
        return f"move {str(name).upper()!r} out of OPTIONS, next to LOCATION"
    names: Iterable[str] = (*_BACKEND_OPTIONS, *_ENGINE_OPTIONS)
    by_lower = {valid.lower(): valid for valid in names}
    near = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.5)
    return f"did you mean {by_lower[near[0]]!r}?" if near else f"the options are {', '.join(names)}"


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise CacheOptionError(f"OPTIONS: {name} must be True or False, not {value!r}")
    return value


def _count(name: str, value: object) -> int:
    try:
        count = int(value)  # type: ignore[call-overload]  # text is welcome, as in Django
    except (TypeError, ValueError, OverflowError):
        count = -1
    if count < 0:
        raise CacheOptionError(f"OPTIONS: {name} must be a whole number, 0 or more, not {value!r}")
    return count  # type: ignore[no-any-return]
