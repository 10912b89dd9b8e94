"""The exit statuses, which scripts rely on: never change the meaning of one."""

OK = 0
NOT_FOUND = 1
DAMAGED = 1
FAILED = 2
TERMINATED = 143
