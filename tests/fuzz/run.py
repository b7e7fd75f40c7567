"""One target under atheris; started by ``python -m tests.fuzz``."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["snickers"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz the target that the command line names."""
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name][0])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
