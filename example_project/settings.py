"""Settings of the example site: no database, loopback only, everything it keeps is in `var/`.

Environment: STRATAKV_DEMO_VAR moves `var/`; STRATAKV_DEMO_ALLOW_REMOTE=1 lets other machines use the page,
and so run programs here.
"""

import os
from pathlib import Path

from example_project.secret import secret_key

PROJECT = Path(__file__).resolve().parent
VAR = Path(os.environ.get("STRATAKV_DEMO_VAR", PROJECT / "var"))

DEBUG = False
SECRET_KEY = secret_key(VAR / "secret_key")

COMPILE_ALLOW_REMOTE = os.environ.get("STRATAKV_DEMO_ALLOW_REMOTE") == "1"
ALLOWED_HOSTS = ["*"] if COMPILE_ALLOW_REMOTE else ["localhost", "127.0.0.1", "[::1]"]

INSTALLED_APPS = ["stratakv_django", "example_project"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "example_project.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [PROJECT / "templates"],
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]

CACHES = {
    "default": {
        "BACKEND": "stratakv_django.cache.StrataKVCache",
        "LOCATION": VAR / "cache",
        "TIMEOUT": None,  # a program's result never goes stale: what could change it is part of its key
        "OPTIONS": {"durability": "interval", "max_bytes": 512 * 1024 * 1024},
    }
}

# Bytes: 64 KiB of source and 64 KiB of input, escaped as forms and JSON do.
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
LOGGING = {  # Django's own default writes tracebacks to the terminal with DEBUG only
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}

CSRF_COOKIE_SAMESITE = "Strict"
TIME_ZONE = "UTC"
USE_TZ = True
