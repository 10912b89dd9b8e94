"""StrataKV beside other stores, and under a load of its own: `python -m benchmarks --help`.

cli          the commands: those of the next three, `all` and `page`
beside       the commands that compare
alone        the commands that do not
endurance    the same, of syncs, growth and the end of writers
arguments    what they have in common
engine       put, get, miss and delete beside other stores
stores       these stores
django_cache the same through Django's cache API, and more, beside other caches
caches       these caches
servers      Redis and Memcached, started for the caches
processes    many processes that use one store
sharing      the stores they use
worker       what each of them does
contest      how all of them are compared
peers        what one of them is
cost         their processor time, writes and memory
comparison   what is found out
opening      how long opening takes, and the memory it costs
probe        what `opening` runs in a fresh process
hitratio     recorded traces replayed on a store with a budget, beside simulated caches
traces       the traces, and how they are read
replay       one trace on one store, and the budget that fits
policies     the simulated caches
budget       the disk that a store with a budget takes while processes write all they can
overwriting  what each of these processes does
latency      gets and puts beside a merge
merging      the speed of merging, and the memory it takes
compaction   what `merging` runs in a fresh process
children     processes that begin when they are told to
seed         the workload that StrataKV was first measured with
meanwhile    gets beside its compaction
published    what others have measured with it
sync         puts with each on the disk, alone and in company
durable      what each process of that company does
scale        stores of more and more keys
recovery     stores that were closed, killed, rebooted or have lost files
killed       who writes to them, and is killed
reopening    who brings them back
numbered     keys and values that follow from numbers
workload     random keys and values, cut into rounds
rounds       the clock: all peers, round by round
spread       medians, quartiles and ratios
report       results as tables or JSON
charts       what is to be drawn
plots        charts as SVG
catalogue    which results the documentation shows
results      results that are kept
page         docs/benchmarks.md from them
publish      all of it in one command
"""
