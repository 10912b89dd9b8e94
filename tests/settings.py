"""Settings for the test suite; the suites build the caches they need themselves."""

SECRET_KEY = "tests only: signs nothing that outlives a run"
INSTALLED_APPS = ["stratakv_django"]
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
