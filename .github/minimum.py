"""Prints the lowest version of each dependency that pyproject.toml allows, a requirement a line.

`python .github/minimum.py EXTRA ...` adds the dependencies of extras; the CI job `minimum` installs
what it prints.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
_REQUIREMENT = re.compile(r"([\w.-]+)>=([\w.]+)")
_OWN = re.compile(r"autocomp\[([\w,-]+)\]")


def lowest(extras: list[str]) -> list[str]:
    """Returns `name==version` for the dependencies and those of the extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = project["optional-dependencies"]
    wanted, waiting = list(project["dependencies"]), list(extras)
    while waiting:
        for text in known[waiting.pop()]:
            own = _OWN.fullmatch(text)
            if own:  # an extra that is made of others
                waiting += own[1].split(",")
            else:
                wanted.append(text)
    pinned = []
    for text in wanted:
        match = _REQUIREMENT.fullmatch(text)
        if match is None:
            raise SystemExit(f"A dependency must read NAME>=VERSION, but got {text!r}.")
        pinned.append(f"{match[1]}=={match[2]}")
    return sorted(set(pinned))


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in lowest(sys.argv[1:]))
