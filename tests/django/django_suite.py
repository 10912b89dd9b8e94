"""Django's own tests of caches, and of what uses them, run against this backend in a process of their own.

    python -m tests.django.django_suite DIR WORK NAME...

DIR is the `tests` directory of Django's source package, WORK an empty directory for the stores, each NAME one
of NAMES. Prints a JSON object: for each NAME the tests that it has, and those that ran, failed, were skipped.
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
import unittest
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from django.core.cache.backends.base import BaseCache

from stratakv_django.cache import StrataKVCache

DUMMY = "asserts that the dummy cache keeps nothing"
TRANSACTION = "the async call evaluates a queryset in a thread that cannot see the transaction of the test"

# Django's contract of all backends, the same through the async methods, the async tests, and classes that use
# a cache but are about no backend.
CONTRACT, CONTRACT_ASYNC, ASYNC = "BaseCacheTests", "BaseCacheTests through a*", "AsyncDummyCacheTests"
ABOUT_NO_BACKEND = (
    "CacheUtils",
    "PrefixedCacheUtils",
    "CacheHEADTest",
    "CacheI18nTest",
    "PrefixedCacheI18nTest",
    "CacheMiddlewareTest",
    "TestWithTemplateResponse",
    "CacheTagTests",
    "CacheSessionTests",
    "CacheDBSessionTests",
)
NAMES = (CONTRACT, CONTRACT_ASYNC, ASYNC, *ABOUT_NO_BACKEND)

# The modules that have them; the others are in `cache.tests`.
ELSEWHERE = {
    ASYNC: "cache.tests_async",
    "CacheTagTests": "template_tests.syntax_tests.test_cache",
    "CacheSessionTests": "sessions_tests.tests",
    "CacheDBSessionTests": "sessions_tests.tests",
}

# The tests that are left out, each with the reason; all others must run.
LEFT_OUT: dict[str, dict[str, str]] = {
    CONTRACT_ASYNC: {
        "test_cache_read_for_model_instance_with_deferred": TRANSACTION,
        "test_cache_write_for_model_instance_with_deferred": TRANSACTION,
    },
    ASYNC: {
        "test_simple": DUMMY,
        "test_aadd": DUMMY,
        "test_aget_many": DUMMY,
        "test_adelete": DUMMY,
        "test_ahas_key": DUMMY,
        "test_aincr": DUMMY,
        "test_adecr": DUMMY,
        "test_data_types": DUMMY,
        "test_expiration": DUMMY,
        "test_unicode": DUMMY,
        "test_aincr_version": DUMMY,
        "test_adecr_version": DUMMY,
        "test_aget_or_set": DUMMY,
    },
}


class ThroughAsyncMethods(BaseCache):
    """The backend with every call made through its `a*` twin, so that Django's tests cover those as well."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        vars(self)["backend"] = StrataKVCache(location, params)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.backend, name, value)


def _twin(name: str) -> Any:
    def call(self: ThroughAsyncMethods, *args: Any, **kwargs: Any) -> Any:
        return asyncio.run(getattr(self.backend, f"a{name}")(*args, **kwargs))

    return call


def _pass_on(name: str) -> Any:
    async def call(self: ThroughAsyncMethods, *args: Any, **kwargs: Any) -> Any:
        return await getattr(self.backend, name)(*args, **kwargs)

    return call


for _name in [name for name in vars(BaseCache) if f"a{name}" in vars(BaseCache)]:
    setattr(ThroughAsyncMethods, _name, _twin(_name))
    setattr(ThroughAsyncMethods, f"a{_name}", _pass_on(f"a{_name}"))


def configure() -> None:
    """Set Django up as its own test runner does, as far as the cache tests need it."""
    import django
    from django.conf import settings

    settings.configure(
        SECRET_KEY="Django's cache tests",
        INSTALLED_APPS=["cache", "django.contrib.sessions", "sessions_tests", "stratakv_django"],
        DATABASES={name: {"ENGINE": "django.db.backends.sqlite3"} for name in ("default", "other")},
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
        MIDDLEWARE=[],
        ROOT_URLCONF="",
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        LANGUAGE_CODE="en",
        USE_TZ=False,
    )
    django.setup()


def build(name: str, work: Path) -> Any:
    """Return the class to run for `name`, one of NAMES, with this backend in every alias it configures."""
    tests = import_module(ELSEWHERE.get(name, "cache.tests"))
    if name == CONTRACT:
        return _every_alias(tests, work / "sync", StrataKVCache, "interval")
    if name == CONTRACT_ASYNC:
        return _every_alias(tests, work / "async", ThroughAsyncMethods, "always")
    return _replacing(getattr(tests, name), work)


def _every_alias(tests: ModuleType, store: Path, backend: type[BaseCache], durability: str) -> Any:
    """Django's contract of all backends, with `backend` in every alias that it configures, in one store."""
    from django.test import TestCase, override_settings

    base = {"BACKEND": f"{backend.__module__}.{backend.__qualname__}", "LOCATION": str(store)}
    aliases = tests.caches_setting_for_tests(base)
    for params in aliases.values():
        params["OPTIONS"] = {
            "durability": durability,
            "key_warnings": True,
            "maintenance": "manual",  # each test clears the cache, which would start a process for it
            **params.get("OPTIONS", {}),
        }
    return override_settings(CACHES=aliases)(type("Contract", (tests.BaseCacheTests, TestCase), {}))


def _replacing(case: type[Any], work: Path) -> Any:
    """`case` with this backend in place of the one it names, a store for each of its LOCATIONs."""
    from django.core.cache import caches
    from django.test import override_settings

    configured = (case._overridden_settings or {}).get("CACHES", {"default": {}})
    aliases = {
        alias: {
            **params,
            "BACKEND": "stratakv_django.cache.StrataKVCache",
            "LOCATION": str(work / case.__name__ / (params.get("LOCATION") or "unnamed")),
            "OPTIONS": {"key_warnings": True, "maintenance": "manual"},
        }
        for alias, params in configured.items()
    }

    def set_up(self: Any) -> None:
        for alias in aliases:
            caches[alias].clear()
        case.setUp(self)

    return override_settings(CACHES=aliases)(type(case.__name__, (case,), {"setUp": set_up}))


def run(name: str, case: type[unittest.TestCase]) -> dict[str, Any]:
    """Run the tests of `case`, but for those left out, and return what became of them."""
    has = list(unittest.TestLoader().getTestCaseNames(case))
    suite = unittest.TestSuite(case(test) for test in has if test not in LEFT_OUT.get(name, {}))
    result = _Result(io.StringIO(), descriptions=False, verbosity=0)
    suite.run(result)
    return {
        "has": has,
        "ran": result.ran,
        "failed": {str(test): trace for test, trace in result.failures + result.errors},
        "skipped": {str(test): reason for test, reason in result.skipped},
    }


class _Result(unittest.TestResult):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ran: list[str] = []

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802 (unittest's name)
        super().startTest(test)
        self.ran.append(test._testMethodName)


def main(tests_dir: str, work: str, *names: str) -> None:
    """Run `names` and print the report."""
    sys.path.insert(0, tests_dir)
    configure()
    from django.test.utils import setup_databases, setup_test_environment

    setup_test_environment()
    setup_databases(verbosity=0, interactive=False)
    json.dump({name: run(name, build(name, Path(work))) for name in names}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
