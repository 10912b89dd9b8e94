"""What a report would have drawn: values only, `benchmarks.plots` draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars: `groups` maps a group to the value of each of its bars; `scale` is "log" or "linear"."""

    name: str
    title: str
    unit: str
    groups: Mapping[str, Mapping[str, float]]
    scale: str = "log"


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines on two logarithmic axes: `lines` maps a line to its points."""

    name: str
    title: str
    across: str
    unit: str
    lines: Mapping[str, Points]


Chart = Bars | Lines
