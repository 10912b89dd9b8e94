#!/usr/bin/env python3
"""Commands of the example site, from any directory: ``python example_project/manage.py demo``."""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this file's own directory first, and would take `statistics.py` for the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_project.settings")
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except KeyboardInterrupt:
        sys.exit(130)
