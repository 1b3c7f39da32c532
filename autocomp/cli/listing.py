"""Lists of everything that has a name."""

from __future__ import annotations

import argparse
import inspect
from importlib import import_module
from typing import Any

from autocomp.cli.console import say
from autocomp.errors import AutocompError
from autocomp.plugins.registry import Factory, find, names

_LISTS = {
    "spaces": ("autocomp.search_spaces", "SPACES", "action spaces"),
    "agents": ("autocomp.agents", "AGENTS", "agents"),
    "rewards": ("autocomp.envs", "REWARDS", "rewards of learning agents"),
    "costs": ("autocomp.costs", "COSTS", "costs that a budget can name"),
    "tasks": ("autocomp.tasks", "TASKS", "tasks: what a network is for"),
    "losses": ("autocomp.training.losses", "LOSSES", "losses of a training"),
    "models": ("autocomp.models", "MODELS", "networks"),
    "data": ("autocomp.data", "DATA", "data sets"),
    "criteria": (
        "autocomp.compression.saliency",
        "CRITERIA",
        "saliency criteria that order channels",
    ),
    "decompositions": (
        "autocomp.compression.low_rank",
        "DECOMPOSITIONS",
        "ways to lower a layer's rank",
    ),
    "compressors": ("autocomp.compression.weights", "COMPRESSORS", "pruners and quantizers"),
}


def add(commands: Any) -> None:
    """Adds a command for each list to the parser."""
    for command, (module, table, what) in _LISTS.items():
        listing = commands.add_parser(command, help=f"list the {what}")
        listing.set_defaults(run=_list, module=module, table=table)


def _list(given: argparse.Namespace) -> int:
    module = import_module(given.module)
    builtin: dict[str, Factory] = getattr(module, given.table)
    known = names(builtin, module.GROUP)
    width = max(map(len, known))
    for name in known:
        try:
            factory = find(given.command, name, builtin, module.GROUP)
            text = (inspect.getdoc(factory) or "").split("\n")[0]
        except AutocompError as error:
            text = str(error)
        say(f"{name:<{width}}  {text}")
    return 0
