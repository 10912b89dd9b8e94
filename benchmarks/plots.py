"""Charts as SVG, readable on a light background and on a dark one: all of it is drawn in middle tones."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks.charts import Bars, Chart, Lines

_INK = "#808080"
_OURS = "#e8590c"  # the first bar or line of a chart
_OTHERS = (
    *("#1c7ed6", "#2f9e44", "#9c6ade", "#c2255c", "#1098ad", "#ae8b00"),
    *("#748ffc", "#a0522d", "#5c940d", "#d6336c", "#868e96"),
)
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "stratakv",  # the same chart gives the same file
    "svg.fonttype": "none",
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.alpha": 0.3,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), _INK
    ),
}
_WIDTH, _HEIGHT = 10, 4  # inches
_LABEL_WIDTH = 12  # characters


def save(chart: Chart, path: Path) -> None:
    """Draw `chart` into a new SVG file at `path`."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        axes = figure.subplots()
        axes.set_prop_cycle(color=[_OURS, *_OTHERS])
        axes.set_title(chart.title, loc="left")
        axes.set_ylabel(chart.unit)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        if isinstance(chart, Bars):
            _bars(axes, chart)
        else:
            _lines(axes, chart)
        figure.legend(loc="outside right center", frameon=False)
        figure.savefig(path, transparent=True, metadata={"Date": None})


def _bars(axes: Any, chart: Bars) -> None:
    names = list(dict.fromkeys(name for group in chart.groups.values() for name in group))
    width = 0.8 / len(names)
    for place, name in enumerate(names):
        found = [(at, group[name]) for at, group in enumerate(chart.groups.values()) if name in group]
        where = [at + width * (place - (len(names) - 1) / 2) for at, _ in found]
        axes.bar(where, [value for _, value in found], width, label=name)
    axes.set_xticks(range(len(chart.groups)), [fill(group, _LABEL_WIDTH) for group in chart.groups])
    axes.set_yscale(chart.scale)
    _number(axes.yaxis)


def _lines(axes: Any, chart: Lines) -> None:
    axes.set_xlabel(chart.across)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    _number(axes.xaxis)
    _number(axes.yaxis)
    for name, points in chart.lines.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=name)


def _number(axis: Any) -> None:
    """Have the ticks of an axis written as people write numbers."""
    axis.set_major_formatter(lambda value, _: f"{value:,.12g}")
    axis.set_minor_formatter(NullFormatter())
