"""StrataKV beside other stores, measured in one run: `python -m benchmarks --help`.

cli          the commands: engine, django, open
engine       put, get, miss and delete beside LMDB and diskcache
django_cache the same through Django's cache API, beside LocMemCache and diskcache
opening      how long opening takes, and the memory it costs
probe        what `opening` runs in a fresh process
workload     random keys and values, cut into rounds
peers        one store among those that are compared
rounds       the clock: all peers, round by round
spread       medians, quartiles and ratios
report       results as tables or JSON
"""
