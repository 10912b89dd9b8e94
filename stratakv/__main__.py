"""`python -m stratakv`: the store from a shell (docs/shell.md)."""

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command line in `sys.argv` and exit with its status."""
    missing = [name for name in ("click", "rich") if find_spec(name) is None]
    if missing:
        sys.exit(
            _failure(f"{' and '.join(missing)} not installed; run: pip install 'stratakv[cli]'", status=2)
        )
    try:
        from stratakv.cli import run

        sys.exit(run(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(_failure("interrupted", status=130))


def _failure(reason: str, status: int) -> int:
    if sys.stderr is not None:  # with None, for a closed one, print takes standard output
        print(f"stratakv: {reason}", file=sys.stderr)
    return status


if __name__ == "__main__":  # pragma: no branch: only the script of that name imports it
    main()
