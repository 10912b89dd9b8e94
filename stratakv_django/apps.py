"""The Django app: its system checks and management commands."""

from django.apps import AppConfig


class StrataKVConfig(AppConfig):
    name = "stratakv_django"
    verbose_name = "StrataKV"

    def ready(self) -> None:
        from django.core.checks import Tags, register

        from stratakv_django.checks import check_budgets, check_caches

        register(check_caches, Tags.caches)
        register(check_budgets, Tags.caches, deploy=True)
