"""How the run was made: command, versions, seed, settings, splits, notes."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from autocomp.inspection.record import RunRecord
from autocomp.reports.html.blocks import Code, Facts, Prose
from autocomp.reports.html.page import Block, Section
from autocomp.reports.sections.wording import sentence
from autocomp.reports.terminal.tables import notes

_SHOWN = ("settings", "command", "versions", "format")


def making(record: RunRecord) -> Section:
    """Returns what is needed to make the run again."""
    blocks: list[Block] = []
    command = record.config.get("command")
    if command:
        blocks.append(Code(_command(command), "Command"))
    blocks.append(Facts(_facts(record.settings), "Settings", half=True))
    if isinstance(record.config.get("versions"), Mapping):
        blocks.append(Facts(_facts(record.config["versions"]), "Versions", half=True))
    rest = {key: value for key, value in record.config.items() if key not in _SHOWN}
    if rest:
        blocks.append(Facts(_facts(rest), "Network, data, and time", half=True))
    remarks = list(record.notes)
    if record.summary is not None:
        remarks += [note.replace("+-", "\u00b1") for note in notes(record.summary)]
    if record.findings is not None:
        missing = record.findings.left_out.items()
        remarks += [sentence(f"About {section}: {why}") for section, why in missing]
    if remarks:
        blocks.append(Prose(tuple(remarks)))
    seed = record.settings.get("seed")
    lead = "Everything that is needed to make this run again"
    lead += "." if seed is None else f"; the seed is {seed}."
    return Section("making", "How it was made", lead, tuple(blocks))


def _command(given: str | Sequence[str]) -> str:
    """Returns a command as a shell reads it."""
    if isinstance(given, str):
        return given
    first, *rest = map(str, given)
    start = ["python", "-m", "autocomp"] if first.endswith("__main__.py") else [first]
    return shlex.join([*start, *rest])


def _facts(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Returns a mapping's terms, nested ones with their path."""
    found: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found += _facts(value, f"{name}: ")
        else:
            found.append((name, _text(value)))
    return found


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value or "none"
    if value is None or value in ([], (), {}):
        return "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return json.dumps(value, ensure_ascii=False, default=str)
