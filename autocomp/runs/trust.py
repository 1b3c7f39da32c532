"""What a run folder's text may do here: name what is installed, and nothing that runs code.

A folder may come from somebody else. Importing `package.module:function`, unpickling a data set and
asking a hub for one run code, or load it; writing to a file that a folder names may damage it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from autocomp.data import DATA
from autocomp.data import GROUP as DATA_GROUP
from autocomp.errors import AutocompError, RunError
from autocomp.models import GROUP as MODEL_GROUP
from autocomp.models import MODELS
from autocomp.plugins.imports import is_import_spec
from autocomp.plugins.registry import names
from autocomp.plugins.spec import parse_spec
from autocomp.runs.settings import SearchConfig

_LOADS_CODE = ("datasets", "torchvision-cifar10", "torchvision-cifar100")
"""Data sets that are unpickled, or come from a hub."""
_SPECS = ("agent", "space", "task", "pruner", "quantizer", "decomposition")
_OUTSIDE = "storage"
"""The option of agents that names a file of its own."""


def code_named(config: SearchConfig) -> dict[str, str]:
    """Returns the settings whose text would make this program run code: name -> text."""
    found = {}
    if _imports(config.model, names(MODELS, MODEL_GROUP)):
        found["model"] = config.model
    known = names(DATA, DATA_GROUP)
    if _imports(config.data, known) or config.data.partition(":")[0] in _LOADS_CODE:
        found["data"] = config.data
    for name in _SPECS:
        text = getattr(config, name)
        if any(is_import_spec(value) for value in _options(text).values() if type(value) is str):
            found[name] = text
    return found


def refuse_code(
    config: SearchConfig, named: Mapping[str, object], call: str,
    arguments: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Raises RunError if a run names code that its user has not named again.

    Args:
        config: the run's settings.
        named: the settings that the user has given, by name; None for those that were not.
        call: what was called, for the message.
        arguments: setting -> what the call's argument is called, where that differs.
    """
    for name, text in code_named(config).items():
        if named.get(name) is None:
            argument = (arguments or {}).get(name, name)
            again = f"name it again ({argument}={text!r:.80}, --{name}), or "
            flag = "" if name in _SPECS else again
            raise RunError(
                f"A run folder must not make {call} run code, but its {name} is {text!r:.80}; "
                f"{flag}allow what this run names (trust=True, --trust-run)."
            )


def confined(config: SearchConfig) -> SearchConfig:
    """Returns a run's settings without the files outside of its folder that they would write."""
    cache = config.cache if config.cache in ("", "none") else ""
    name, colon, options = config.agent.partition(":")
    kept = [part for part in options.split(",") if part.partition("=")[0].strip() != _OUTSIDE]
    agent = f"{name}:{','.join(kept)}" if colon and any(kept) else name
    return replace(config, cache=cache, agent=agent if _OUTSIDE in options else config.agent)


def _imports(text: str, known: list[str]) -> bool:
    return text.partition(":")[0] not in known and is_import_spec(text)


def _options(text: str) -> dict[str, object]:
    try:
        return parse_spec(text)[1]
    except AutocompError:
        return {}  # building it says what is wrong
