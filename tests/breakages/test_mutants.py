"""The mutator itself; what it finds out about the engine takes hours, and is in docs/mutants.md."""

from __future__ import annotations

import pytest

from tests.breakages.breakage import ROOT
from tests.breakages.mutants import mutants
from tests.breakages.mutate import TESTS, file_of


def changes(source: str) -> set[tuple[str, str]]:
    return {(mutant.before, mutant.after) for mutant in mutants(source)}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", {("a < b", "a <= b")}),
        ("a and not b", {("a and (not b)", "a or not b"), ("not b", "b")}),
        ("x = 5", {("5", "6"), ("5", "4")}),
        ("x = a + b", {("a + b", "a - b")}),
        ("f(a)", {("f(a)", "pass")}),
        ("self.x = a", {("self.x = a", "pass")}),
        ("x: Literal[1] = a", set()),
    ],
)
def test_changes(source: str, expected: set[tuple[str, str]]) -> None:
    assert changes(source) == expected


def test_each_mutant_is_a_program_that_differs() -> None:
    source = (ROOT / "stratakv/bloom.py").read_text()
    made = [mutant.source for mutant in mutants(source)]
    assert len(made) > 20
    assert len(set(made)) > 0.95 * len(made)
    for text in made:
        compile(text, "mutant", "exec")


def test_the_modules_and_their_tests_are_there() -> None:
    for module, groups in TESTS.items():
        assert (ROOT / module).is_file()
        assert all((ROOT / file_of(name)).is_file() for group in groups for name in group)
