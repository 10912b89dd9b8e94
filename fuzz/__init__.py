"""Coverage-guided fuzzing of every parser of bytes from disk: `python -m fuzz --help`.

A target is a module with a function `run(data)`: it gives the bytes to one parser and raises where anything
but a documented error comes of them. Behind a checksum there is nothing for a fuzzer to find by luck, so
most targets mend the checksums in what they are given, when its first byte says so.

targets      their names, and how long and how large an input may be
record       one record, a chain of them, and the search for them
log          the header of a log, and a whole one as a segment
index        the index of a sound log
manifest     MANIFEST
control      CONTROL of a sound store, in the boot that wrote it
ghosts       GHOSTS
format       FORMAT
directory    a sound store in which one file is not
codec        a value of the Django cache

mending      checksums made to fit
places       a directory in memory, on a machine without syncs
stores       a small store with everything in it, opened, used and recovered

corpus/TARGET/ has what once reached something new, and what once failed.
"""
