"""``python -m bench``: the order of things. Ends by itself, in about three minutes at most."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bench import loads, proxies
from bench.loads import Unanswered
from bench.machine import LOAD_CORE, Machine, Missing, cpu_model
from bench.report import Measurement, between_markers, rows, table

DOCS = Path(__file__).parent.parent / "docs"
LONGEST = 165.0  # seconds: no round begins after this


def arguments() -> argparse.Namespace:
    """Read the command line."""
    names = ", ".join(proxy.name for proxy in proxies.ALL)
    keys = ", ".join(load.key for load in loads.ALL)
    parser = argparse.ArgumentParser(prog="bench/run", description="Compare the proxies' CPU.")
    parser.add_argument("--quick", action="store_true", help="a first look: less of everything")
    parser.add_argument("--rounds", type=int, default=0, help="how often (5; with --quick 3)")
    parser.add_argument("--proxies", default="", help=f"some of: {names}")
    parser.add_argument("--loads", default="", help=f"some of: {keys}")
    parser.add_argument("--write", action="store_true", help="write docs/performance.*")
    return parser.parse_args()


def main() -> int:
    """Measure, print, and write if asked to."""
    asked = arguments()
    wanted = {name.strip().lower() for name in asked.proxies.split(",") if name.strip()}
    keys = {key.strip() for key in asked.loads.split(",") if key.strip()}
    work = [load for load in loads.ALL if not keys or load.key in keys]
    if asked.quick:
        work = [load.smaller(3) for load in work]
    rounds = asked.rounds or (3 if asked.quick else 5)
    if len(os.sched_getaffinity(0)) < 2:
        print("bench: needs two cores, one for the proxy and one for the load", file=sys.stderr)
        return 1
    measured: list[Measurement] = []
    versions = {}
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="snickers-bench-") as name, Machine(Path(name)) as here:
        scene = proxies.make_scene(Path(name))
        try:
            proxies.start_backend(here, scene, LOAD_CORE)
        except Missing as missing:
            print(f"bench: {missing}", file=sys.stderr)
            return 1
        running = []
        for kind in proxies.ALL:
            if wanted and kind.name.lower() not in wanted:
                continue
            proxy = kind(scene)
            try:
                running.append((proxy, proxy.start(here)))
                versions[proxy.name] = proxy.version()
            except Missing as missing:
                print(f"bench: left out: {missing}", file=sys.stderr)
        done = 0
        # Round -1 warms up: certificates are loaded, connections pooled, code paths compiled.
        for turn in range(-1, rounds):
            if time.monotonic() - began > LONGEST:
                break
            for load in work:
                size = load.smaller(10) if turn < 0 else load
                for proxy, server in running:
                    if not load.for_(proxy):
                        continue
                    before = server.cpu()
                    try:
                        seconds = loads.put(size, proxy)
                    except Unanswered as problem:
                        print(f"bench: {proxy.name}, {load.key}: {problem}", file=sys.stderr)
                        print(server.log.read_text(errors="replace")[-3000:], file=sys.stderr)
                        return 1
                    cpu = server.cpu() - before
                    each = cpu / (size.requests * size.units)
                    if turn >= 0:
                        busy = cpu / seconds
                        measured.append(Measurement(load.key, proxy.name, each, busy))
            done = turn + 1
            print(f"bench: round {done} of {rounds}", file=sys.stderr)
        memory = {proxy.name: server.memory() for proxy, server in running}
    names = list(versions)
    subject = names[0] if names else ""
    text = table(
        rows([(load.key, load.title, load.unit) for load in work], measured), names, subject
    )
    print(text)
    for load in work:
        shares = []
        for proxy_name in names:
            busy_shares = [
                one.busy for one in measured if (one.load, one.proxy) == (load.key, proxy_name)
            ]
            if busy_shares:
                shares.append(f"{proxy_name} {median(busy_shares):.0%}")
        print(f"core busy, {load.key}: {', '.join(shares)}", file=sys.stderr)
    if asked.write:
        write(text, versions, measured, memory, done)
    return 0


def write(
    text: str,
    versions: dict[str, str],
    measured: list[Measurement],
    memory: dict[str, int],
    rounds: int,
) -> None:
    """Write the table into the page, and the measurements beside it."""
    machine = f"{cpu_model()}, Linux {os.uname().release.split('-')[0]}"
    date = time.strftime("%Y-%m-%d", time.gmtime())
    peers = "; ".join(versions.values())
    text = f"{text}\n\n{date}, medians of {rounds} rounds. {machine}. {peers}."
    page = DOCS / "performance.md"
    page.write_text(between_markers(page.read_text() if page.exists() else "", text))
    record = {
        "date": date,
        "machine": machine,
        "versions": versions,
        "rounds": rounds,
        "memory": memory,
        "measurements": [
            {"load": one.load, "proxy": one.proxy, "cpu": one.cpu, "busy": round(one.busy, 3)}
            for one in measured
        ],
    }
    (DOCS / "performance.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
