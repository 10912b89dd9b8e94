"""What the pages say exists: links, files, and the README's set-up lines."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, README, ROOT, SET_UP, anchors, blocks, code, links, name

_FILE = re.compile(r"(?:stratakv|stratakv_django|example_project|benchmarks|tests|docs|\.ci)/[\w./-]*")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_of_the_repository_that_are_named_are_there(page: Path) -> None:
    made_when_used = {"example_project/var/"}
    named = {found for text in code(page) for found in _FILE.findall(text)} - made_when_used
    assert {found for found in named if not (ROOT / found).exists()} == set()


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) < 200


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, queue = set(), [README]
    while queue:
        page = queue.pop()
        if page not in reached:
            reached.add(page)
            targets = (
                (page.parent / link.partition("#")[0]).resolve() for link in links(page) if ":" not in link
            )
            queue += [target for target in targets if target.suffix == ".md" and target.exists()]
    assert set(PAGES) - reached == set()


def test_ci_runs_the_set_up_lines_of_the_readme() -> None:
    """Run the line of .ci/run that collects them, and see that nothing but these is what it then executes."""
    script = (ROOT / ".ci" / "run").read_text()
    (collect,) = [line for line in script.splitlines() if line.startswith("mapfile ")]
    show = f"{collect}\nprintf '%s\\n' \"${{setup[@]}}\""
    found = subprocess.run(["bash", "-euc", show], cwd=ROOT, check=True, capture_output=True, text=True)
    lines = [
        line for block in blocks(README, "sh") for line in block.text.splitlines() if line.startswith(SET_UP)
    ]
    assert found.stdout.splitlines() == lines
    demo, tests = lines
    assert demo.endswith("example_project/manage.py demo")
    assert tests.endswith("-m pytest -n auto")
    assert script.count('bash -euo pipefail -c "${setup[0]}"') == 1
    assert script.count('bash -euo pipefail -c "${setup[1]}"') == 1
