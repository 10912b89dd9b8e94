"""The commands of `python -m stratakv`, built with click; rich draws the progress bars.

app         the command group; how errors become one line and an exit status
arguments   what commands share: their class, DIR, KEY, --hex, --format, opening the store
data        get, put, delete, scan
upkeep      stats, verify, compact, recover, backup
maintain    maintain
serve       serve
encoding    bytes as a line of text or as JSON
report      a report as text or as JSON
progress    a bar on a terminal, nothing elsewhere
streams     standard input and output as bytes
status      the exit statuses
"""

from stratakv.cli.app import run

__all__ = ["run"]
