"""Bringing a store back from its logs: after a reboot by itself, and whenever asked by `recover`.

What survives is a prefix of what was acknowledged. Segments are gone through oldest first. At the first
place where the chain of sound records breaks, a young log is cut behind its last whole commit, and all
younger segments go. A break before a position that was on disk is damage rather than a torn tail, and so is
any break in the boot in which it was written; the mode decides:

    point-in-time   cut there all the same, and say what was lost
    strict          change nothing, raise CorruptionError
    salvage         keep every sound record, whatever lies before it

A log in key order has no order of time to cut by: of it, every sound record is kept in either mode but
`strict`. Indexes and CONTROL are always made anew, and so is a manifest that is lost, which costs nothing
while all logs are there; a log in the middle whose end nobody knows must then be sound to its last byte.

A run goes in steps, each durable before the next, so that one that dies can be done again and loses no
more: judge all logs, which changes nothing; put what will be taken out into lost+found; write new logs and
headers; install the manifest; and only then cut and remove. `recover` puts everything into lost+found. A
recovery after a reboot puts there what follows from damage, up to a limit; ordinary torn tails, which any
power cut leaves, are cut off for good.
"""
