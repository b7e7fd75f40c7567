"""``python -m bench``: the order of things. Ends by itself, in about six minutes at most."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from bench import loads, proxies
from bench.loads import Unanswered, Unspoken
from bench.machine import LOAD_CORE, Machine, Missing, Server, cpu_model
from bench.plot import plot
from bench.proxies import Proxy
from bench.report import Measurement, between_markers, rows, table

DOCS = Path(__file__).parent.parent / "docs"
LONGEST = 330.0  # seconds: no round begins after this

WARMING, IDLE = 400, 1600  # idle connections, one after the other


def arguments() -> argparse.Namespace:
    """Read the command line."""
    names = ", ".join(proxy.name for proxy in proxies.ALL)
    keys = ", ".join([*(load.key for load in loads.ALL), "idle"])
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
                    except Unspoken as problem:
                        print(f"bench: {proxy.name}, {load.key}: {problem}", file=sys.stderr)
                        continue
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
        if not keys or "idle" in keys:
            for proxy, server in running:
                each = idle_memory(proxy, server)
                measured.append(Measurement("idle", proxy.name, each, 0.0))
    names = list(versions)
    subject = names[0] if names else ""
    kinds = [(load.key, load.title, load.unit) for load in work]
    found = rows([*kinds, ("idle", "memory of an idle TLS connection", "KB")], measured)
    text = table(found, names, subject)
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
        (DOCS / "performance.svg").write_text(plot(found, subject, names[1:]))
    return 0


def idle_memory(proxy: Proxy, server: Server) -> float:
    """Return the bytes that each of many idle connections costs: what the second lot of them adds,
    since the first one makes room that stays."""
    with ExitStack() as stack:
        sizes = []
        for count in (WARMING, IDLE):
            words = loads.command("idle", proxy.port, proxies.PROXIED, count, 1)
            held = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.callback(held.wait, 30)
            assert held.stdin is not None
            assert held.stdout is not None
            stack.callback(held.stdin.close)
            if held.stdout.readline() != "ready\n":
                raise SystemExit(f"bench: {proxy.name} did not take {count} idle connections")
            sizes.append(server.memory())
        return (sizes[1] - sizes[0]) / IDLE


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
