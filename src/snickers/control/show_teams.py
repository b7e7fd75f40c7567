"""What ``snickers teams`` shows: which team is live, since when, and what a verb would do.

Pure: an answer of the keeper's and what the folders hold come in, lines go out. It must never fail
on an answer of another version of the keeper, which may lack a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snickers.control.show import PLAIN, Answer, Style, alarm, clean, span, table

TEAMS = ("blue", "red")


def teams(
    answer: Answer, folders: Mapping[str, str], now: float, style: Style = PLAIN
) -> list[str]:
    """Return the lines; *folders*: what each team's folder holds, in words."""
    lines = [style.paint(clean(answer.get("words", "?")), "bold"), ""]
    heads = ("TEAM", "STATE", "SINCE", "PID", "RUNS", "OPEN", "ANSWERS", "ERRORS", "FOLDER HAS")
    rows = [[style.paint(head, "dim") for head in heads]]
    for team in TEAMS:
        members = _members(answer, team)
        for state, member in members or [("-", {})]:
            rows.append(_row(team, state, member, folders.get(team, ""), now, style))
    lines += table(rows, right=frozenset({2, 3, 5, 6, 7}))
    lines.append("")
    lines += _finishing(answer, now)
    lines += would(answer, folders)
    lines += _last_deploy(answer.get("deploy"), now, style)
    if answer.get("taken_back"):
        lines += ["", style.paint(f"taken back: {clean(answer['taken_back'])}", "red")]
    alarms = answer.get("alarms")
    if isinstance(alarms, list) and alarms:
        lines += ["", style.paint("alarms of the keeper:", "red")]
        lines += [f"  {line}" for entry in alarms for line in alarm(entry)]
    return lines


def _last_deploy(told: object, now: float, style: Style) -> list[str]:
    """Return the line about the last deployment."""
    if not isinstance(told, Mapping):
        return []
    began, ended = told.get("began"), told.get("ended")
    source = f" of {clean(told['source'])}" if told.get("source") else ""
    words = f"last deploy: {clean(told.get('team', '?'))}{source}"
    if not isinstance(ended, int | float):
        since = f" began {span(now - began)} ago and" if isinstance(began, int | float) else ""
        line = f"{words},{since} has not ended: it goes on, or was killed"
        return ["", style.paint(line, "yellow")]
    failed = bool(told.get("failed"))
    how = "failed" if failed else "done"
    line = f"{words}, {how} {span(now - ended)} ago: {clean(told.get('words', ''))}"
    return ["", style.paint(line, "red") if failed else line]


def _at_leisure(member: Answer) -> bool:
    """Say whether it finishes for long what it has open."""
    return isinstance(member.get("finishing_since"), int | float) and not member.get("hurried")


def _finishing(answer: Answer, now: float) -> list[str]:
    """Return a line for each process that still finishes what it has open: until when."""
    lines = []
    ending = answer.get("ending")
    for member in ending if isinstance(ending, list) else []:
        by = member.get("ends_by") if isinstance(member, Mapping) else None
        if not isinstance(by, int | float):
            continue
        opened = member.get("open")
        things = "1 connection" if opened == 1 else f"{clean(opened)} connections"
        words = f"{clean(member.get('team', '?'))}: process {clean(member.get('pid', '?'))}"
        limit = f"for {span(max(0.0, by - now))} at the most"
        if _at_leisure(member):
            since = span(now - member["finishing_since"])
            limit += ", or until the next start or deploy of that team"
            lines.append(f"{words} has finished what is open for {since}; {things}, {limit}")
        else:
            lines.append(f"{words} ends; {things}, {limit}")
    return [*lines, ""] if lines else []


def _members(answer: Answer, team: str) -> list[tuple[str, Answer]]:
    """Return the processes of *team*, each with its state."""
    found: list[tuple[str, Answer]] = []
    live, other = answer.get("live"), answer.get("other")
    stage = answer.get("stage")
    if isinstance(live, Mapping) and live.get("team") == team:
        found.append(("starts" if stage == "opening" else "live", live))
    if isinstance(other, Mapping) and other.get("team") == team:
        found.append(("proves itself" if stage == "proving" else "stands by", other))
    ending = answer.get("ending")
    for member in ending if isinstance(ending, list) else []:
        if isinstance(member, Mapping) and member.get("team") == team:
            found.append(("finishes" if _at_leisure(member) else "ends", member))
    return found


def _row(team: str, state: str, member: Answer, folder: str, now: float, style: Style) -> list[str]:
    key = {"live": "live_since", "finishes": "finishing_since"}.get(state, "")
    since = member.get(key)
    since = member.get("since") if since is None else since
    colour = {"live": "green", "stands by": "yellow", "ends": "dim"}.get(state, "yellow")
    return [
        clean(team),
        style.paint(state, colour) if member else state,
        span(now - since) if isinstance(since, int | float) else "-",
        clean(member.get("pid") or "-"),
        clean(member.get("version") or "-"),
        *(clean(member.get(key, "-")) for key in ("open", "answers", "errors")),
        clean(folder),
    ]


def would(answer: Answer, folders: Mapping[str, str]) -> list[str]:
    """Return what the verbs would do now."""
    live = _team(answer.get("live"))
    other = _team(answer.get("other"))
    stage = answer.get("stage")
    if stage == "serving" and live in TEAMS:
        newcomer = TEAMS[1 - TEAMS.index(live)]
        return [
            f"switch: starts {newcomer} ({clean(folders.get(newcomer, '?'))}) to stand by, has it "
            f"prove itself, and then take over; {live} stands by until commit or rollback"
        ]
    if stage == "trial":
        lines = [
            f"commit: {live} stays; {other} finishes what it has open, and ends",
            f"rollback: {other} takes over again; {live} finishes what it has open, and ends",
        ]
        left: Any = answer.get("commits_in")
        if isinstance(left, int | float):
            lines.append(f"without alarms it is committed by itself in {span(left)}")
        return lines
    if stage == "proving":
        return [f"rollback: {other} ends before it has taken over; {live} goes on"]
    good = answer.get("good")
    if stage == "down" and isinstance(good, str) and good in TEAMS:
        newcomer = TEAMS[1 - TEAMS.index(good)]
        return [
            f"restart: starts {good} ({clean(folders.get(good, '?'))}) at once",
            f"switch: starts {newcomer} ({clean(folders.get(newcomer, '?'))}) instead",
        ]
    return ["nothing can be asked for right now"]


def _team(member: object) -> str:
    return clean(member.get("team", "")) if isinstance(member, Mapping) else ""
