"""What others have measured with the workload of `seed`, to stand beside ours: not on this machine."""

from __future__ import annotations

from collections.abc import Mapping

# By where they were measured; rows are named as `seed` names them.
PUBLISHED: Mapping[str, Mapping[str, str]] = {
    "published, Windows 11, NTFS, a sync for each write": {
        "whole workload": "6 min 37 s",
        "get of a key that is there, before": "1.23 s",
        "get of a key that is there, after": "175 µs",
        "get of a key that is not, before": "2.07 s",
        "get of a key that is not, after": "163 µs",
        "segments, before": "1,945",
        "segments, after": "2",
        "disk, before": "1,953.79 MB",
        "disk, after": "393.42 MB",
        "compaction": "9.22 s",
        "reopening": "446.8 ms",
    },
    "the same program on a Linux machine like this one, a sync for each write": {
        "whole workload": "109 s",
        "put": "336-371 µs",
        "get of a key that is there, before": "13 ms",
        "get of a key that is there, after": "75-88 ms",
        "get of a key that is not, after": "1.4-1.6 ms",
        "segments, before": "1,945",
        "disk, before": "1,955 MB",
        "disk, after": "204 MB",
        "compaction": "8.8 s",
        "reopening": "110 ms",
        "resident": "1.4 GB",
    },
}
