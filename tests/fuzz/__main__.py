"""Fuzzes each target for some seconds: ``python -m tests.fuzz [SECONDS] [TARGET...]``.

Needs atheris (``pip install atheris``: CPython 3.11 and 3.12 on Linux). Ends with status 1 and the
bytes of the first finding.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

SEED = 20261123


def main() -> int:
    """Run each target in a process of its own."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    from tests.fuzz.targets import TARGETS

    wanted = sys.argv[2:] or list(TARGETS)
    for name in wanted:
        with tempfile.TemporaryDirectory(prefix="snickers-fuzz-") as folder:
            corpus = Path(folder) / "corpus"
            corpus.mkdir()
            for number, data in enumerate(TARGETS[name][1]):
                (corpus / str(number)).write_bytes(data)
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "tests.fuzz.run", name, str(corpus)),
                    *(f"-max_total_time={seconds}", f"-seed={SEED}", "-max_len=600"),
                    f"-artifact_prefix={folder}/",
                ],
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
            if done.returncode:
                print(f"{name}: a finding\n{done.stdout[-1500:]}\n{done.stderr[-4000:]}")
                for found in Path(folder).glob("crash-*"):
                    print(repr(found.read_bytes()))
                return 1
            runs = [line for line in done.stderr.splitlines() if line.startswith("Done ")]
            if not runs:
                print(f"{name}: nothing was run\n{done.stderr[-2000:]}")
                return 1
            print(f"{name}: {runs[-1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
