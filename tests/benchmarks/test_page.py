"""docs/benchmarks.md is made of the results beside it: nobody writes a figure by hand."""

import dataclasses
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import page
from benchmarks.catalogue import REPORTS, RUNS
from benchmarks.cli import benchmarks
from benchmarks.comparison import Comparison
from benchmarks.cost import Cost
from benchmarks.results import Result
from benchmarks.spread import compare

DOCS = Path(__file__).parents[2] / "docs"
HAND = "By hand.\n\n<!-- result: engine -->\n{}<!-- end of result -->\n\nBelow.\n"


def result():
    costs = [Cost(peer, 2, {"get": 1.5}, 0.1, 2.5, 3, 1) for peer in ("ours", "theirs")]
    timings = compare("get", {"ours": [1, 2], "theirs": [4, 5]}, "ours")
    settings = dict.fromkeys(("ours", "theirs"), "defaults")
    sizes = {"keys": 2, "value_bytes": 9}
    report = Comparison("engine", sizes, {"Python": "3.11"}, "ours", settings, {}, timings, costs)
    return Result("python -m benchmarks engine", "2026-01-31", report)


@pytest.fixture
def docs(tmp_path):
    """A folder as docs/, in which the result of `engine` is kept and not yet on the page."""
    (tmp_path / "benchmarks").mkdir()
    result().save(tmp_path / "benchmarks" / "engine.json")
    (tmp_path / "benchmarks.md").write_text(HAND.format("what was there\n"))
    return tmp_path


def test_the_page_is_what_the_kept_results_make_of_it():
    advice = "run: python -m benchmarks page docs"
    assert page.rendered(DOCS) == (DOCS / page.PAGE).read_text(), advice


def test_the_page_has_every_result_once_and_every_command_a_report():
    assert sorted(page.marked((DOCS / page.PAGE).read_text())) == sorted(RUNS)
    assert {shlex.split(run)[0] for run in RUNS.values()} == set(REPORTS)
    assert set(REPORTS) <= set(benchmarks.commands)


def test_a_kept_result_comes_back_as_it_was(docs):
    kept = Result.load(docs / "benchmarks" / "engine.json")
    assert kept == result()
    assert dataclasses.asdict(kept) == dataclasses.asdict(result())


def test_only_what_is_between_the_marks_is_made(docs):
    made = page.rendered(docs)
    above, _, rest = made.partition("<!-- result: engine -->\n")
    shown, _, below = rest.partition("<!-- end of result -->")
    assert (above, below) == ("By hand.\n\n", "\n\nBelow.\n")
    assert shown.startswith("\n`python -m benchmarks engine` on 2026-01-31:\n\n| ours / peer | get |\n")
    first, _, folded = shown.partition("<details><summary>All figures, settings and versions</summary>\n\n")
    assert "\n| theirs | 0.33 |\n" in first, "the median of 1/4 and 2/5"
    assert "\n| ours | 2 | 0.1 | 2.5 | 3.0 | 1.0 |\n" in folded
    assert "\n- Python: 3.11\n" in folded
    assert folded.endswith("\n\n</details>\n\n")
    assert "what was there" not in shown
    (docs / "benchmarks.md").write_text(made)
    assert page.rendered(docs) == made


def test_a_result_that_was_not_kept_leaves_its_place_empty(docs):
    (docs / "benchmarks" / "engine.json").unlink()
    assert page.rendered(docs) == HAND.format("")


def test_one_result_is_measured_and_all_that_are_kept_are_shown(docs, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib", reason="charts need the package matplotlib")
    monkeypatch.setitem(RUNS, "open", "open --keys 20 --rounds 2")
    with (docs / "benchmarks.md").open("a") as file:
        file.write("<!-- result: open -->\n<!-- end of result -->\n")
    (place := tmp_path / "place").mkdir()
    done = CliRunner().invoke(benchmarks, ["all", "open", "--write", str(docs), "--directory", str(place)])
    assert done.exit_code == 0, done.output
    made = (docs / "benchmarks.md").read_text()
    assert "`python -m benchmarks open --keys 20 --rounds 2` on 2" in made
    assert "![engine: µs per operation, 2 keys, values of 9 bytes](benchmarks/engine-times.svg)" in made
    drawing = (docs / "benchmarks" / "engine-times.svg").read_text()
    assert drawing.lstrip().startswith("<?xml")
    assert ">theirs<" in drawing


def test_all_names_what_failed_and_goes_on(docs, monkeypatch):
    monkeypatch.setitem(RUNS, "engine", "engine --keys 1")
    done = CliRunner().invoke(benchmarks, ["all", "engine", "engine", "--write", str(docs)])
    assert done.exit_code == 1
    assert "2/2 python -m benchmarks engine" in done.output
    assert "failed: engine, engine" in done.output
    assert Result.load(docs / "benchmarks" / "engine.json") == result()


def test_unknown_results_are_refused():
    done = CliRunner().invoke(benchmarks, ["all", "nothing"])
    assert done.exit_code == 2
    assert "There is no nothing; there are engine" in done.output
