"""How figures are worded."""

import pytest

from example_project.presentation import duration, size


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [(0.25, "250 µs"), (1.234, "1.23 ms"), (999.4, "999 ms"), (999.7, "1.00 s"), (12_345, "12.35 s")],
)
def test_a_duration(milliseconds: float, words: str) -> None:
    assert duration(milliseconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (1023, "1,023 B"),
        (1536, "1.5 KiB"),
        (1010 * 1024, "1,010 KiB"),
        (1023.9 * 1024**2, "1,024 MiB"),
        (3 * 1024**3, "3.0 GiB"),
    ],
)
def test_a_size(count: float, words: str) -> None:
    assert size(count) == words
