"""Fuzzes each target for some seconds: ``python -m tests.fuzz [SECONDS] [TARGET...]``; as many at
once as there are processors.

Needs atheris (``pip install atheris``: CPython 3.11 and 3.12 on Linux). Ends with status 1 and the
bytes of the first finding, be it a crash, a hang or too much memory; also if nothing was run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.targets import TARGETS

SEED = 20261123
RUN = (sys.executable, "-m", "tests.fuzz.run")
LONGEST = 600
"""Bytes of what is made up, unless what it begins from is longer."""
HANG = 10
"""Seconds that no input may take: they take milliseconds."""
GRACE = 60
"""Seconds beyond the wanted ones after which a fuzzer itself is taken for hung."""


def fuzz(name: str, seconds: int, program: Sequence[str] = RUN) -> tuple[bool, str]:
    """Have *program* fuzz one target; return whether it is well, and what to say of it."""
    seeds = TARGETS[name][1]
    with tempfile.TemporaryDirectory(prefix="snickers-fuzz-") as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, data in enumerate(seeds):
            (corpus / str(number)).write_bytes(data)
        longest = max(LONGEST, *(len(data) + 64 for data in seeds))
        try:
            done = subprocess.run(
                [
                    *(*program, name, str(corpus), f"-max_total_time={seconds}"),
                    *(f"-seed={SEED}", f"-max_len={longest}", f"-timeout={HANG}"),
                    f"-artifact_prefix={folder}/found-",
                ],
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=seconds + GRACE,
            )
        except subprocess.TimeoutExpired:
            return False, f"{name}: it did not end"
        found = [repr(path.read_bytes()) for path in sorted(Path(folder).glob("found-*"))]
    if done.returncode or found:
        said = f"{done.stdout[-1500:]}\n{done.stderr[-4000:]}"
        return False, "\n".join([f"{name}: a finding", said, *found])
    runs = [line for line in done.stderr.splitlines() if line.startswith("Done ")]
    if not runs:
        return False, f"{name}: nothing was run\n{done.stderr[-2000:]}"
    return True, f"{name}: {runs[-1]}"


def main(arguments: Sequence[str], program: Sequence[str] = RUN) -> int:
    """Run each target in a process of its own; none is begun any more after the first finding."""
    seconds = int(arguments[0]) if arguments else 10
    names = arguments[1:] or list(TARGETS)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        running = [pool.submit(fuzz, name, seconds, program) for name in names]
        for each in running:
            well, words = each.result()
            print(words, flush=True)
            if not well:
                pool.shutdown(wait=False, cancel_futures=True)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
