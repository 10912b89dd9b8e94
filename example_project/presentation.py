"""How an answer and the statistics are worded and drawn; no request, no cache."""

import dataclasses

import stratakv
from example_project.compile_cache import Answer
from example_project.programs import Stage

STEP_TITLES = {
    "lookup": "look up",
    "wait": "wait for turn",
    "sandbox": "sandbox",
    "compile": "compile",
    "run": "run",
    "store": "store",
}
EXPLAINED = {
    "hit": "served from the cache",
    "miss": "not in the cache: made now, and stored",
    "joined": "waited for an equal request that was already at work",
}


@dataclasses.dataclass(frozen=True)
class Bar:
    """One step in the chart of a request; `x` and `width` are percent of the whole."""

    name: str
    title: str
    duration: str
    x: float
    width: float


@dataclasses.dataclass(frozen=True)
class Output:
    """What one stage printed and how it ended."""

    title: str
    ending: str
    ok: bool
    stdout: str
    stderr: str
    cost: str


@dataclasses.dataclass(frozen=True)
class Shown:
    """An answer as the page shows it."""

    state: str
    explained: str
    total: str
    saved: str
    bars: list[Bar]
    outputs: list[Output]
    compiler: str
    key: str


def shown(answer: Answer) -> Shown:
    result = answer.result
    stages = [
        *([_output("Compiler", result.compile)] if result.compile and _worth_showing(result.compile) else []),
        *([_output("Program", result.run)] if result.run else []),
    ]
    return Shown(
        state=answer.state,
        explained=EXPLAINED[answer.state],
        total=duration(answer.milliseconds["total"]),
        saved=_saved(answer),
        bars=_bars(answer),
        outputs=stages,
        compiler=result.compiler,
        key=answer.key.partition(":")[2],
    )


def _worth_showing(compilation: Stage) -> bool:
    return not compilation.ok or bool(compilation.stdout or compilation.stderr)


def _saved(answer: Answer) -> str:
    if answer.state != "hit":
        return ""
    return f"{answer.result.milliseconds / answer.milliseconds['total']:,.0f} times faster than making it"


def _bars(answer: Answer) -> list[Bar]:
    """The steps one after another; each is wide enough to be seen, however short it was."""
    steps = [(name, answer.milliseconds[name]) for name in STEP_TITLES if name in answer.milliseconds]
    least = sum(took for _, took in steps) * 0.01
    whole = sum(max(took, least) for _, took in steps)
    bars: list[Bar] = []
    x = 0.0
    for name, took in steps:
        width = 100 * max(took, least) / whole
        bars.append(Bar(name, STEP_TITLES[name], duration(took), x, width))
        x += width
    return bars


def _output(title: str, stage: Stage) -> Output:
    cost = (
        f"{duration(stage.milliseconds)}, {duration(stage.cpu_milliseconds)} CPU, {size(stage.max_rss_bytes)}"
    )
    return Output(title, ending(stage), stage.ok, stage.stdout, stage.stderr, cost)


def ending(stage: Stage) -> str:
    """How a stage ended, in two or three words."""
    if stage.limit:
        return f"stopped: {stage.limit} limit"
    return f"killed by {stage.signal}" if stage.signal else f"exit status {stage.exit_status}"


def duration(milliseconds: float) -> str:
    if milliseconds < 1:
        return f"{milliseconds * 1000:.0f} µs"
    if milliseconds < 999.5:
        return f"{milliseconds:.3g} ms"
    return f"{milliseconds / 1000:.2f} s"


def size(count: float) -> str:
    """A number of bytes in words."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}" if count < 999.5 else f"{count:,.0f} {unit}"
        count /= 1024
    return f"{count:,.1f} GiB"


def figures(stats: stratakv.Stats | None) -> list[tuple[str, str]]:
    """The engine's statistics as (name, figure) rows."""
    if stats is None:
        return []
    return [
        ("keys", f"{stats.keys:,}"),
        ("segments", f"{len(stats.segments):,}"),
        ("records written", f"{stats.records_written:,}"),
        ("on disk", size(stats.disk_bytes)),
        ("budget", size(stats.max_bytes) if stats.max_bytes else "no limit"),
        ("of that, records", size(stats.log_bytes)),
        ("evicted keys", f"{stats.evicted_keys:,}"),
        ("durability", stats.durability),
        ("not yet synced", size(stats.unsynced_bytes)),
        ("reads found", f"{stats.hits:,}"),
        ("reads not found", f"{stats.misses:,}"),
        ("damaged reads", f"{stats.damaged_reads:,}"),
    ]


def tiles(counts: dict[str, int]) -> list[tuple[str, str]]:
    """The site's counts as (name, figure) tiles."""
    served = counts["hit"] + counts["joined"]
    asked = served + counts["miss"]
    return [
        ("hits", f"{served:,}"),
        ("misses", f"{counts['miss']:,}"),
        ("hit rate", f"{served / asked:.0%}" if asked else "none yet"),
        ("time saved", duration(counts["saved_ms"]) if counts["saved_ms"] else "none yet"),
    ]
