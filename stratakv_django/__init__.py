"""Django on StrataKV: a cache backend, its system checks and its management commands."""
