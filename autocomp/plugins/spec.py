"""Reading `name:option=value,option=value`, the form in which the CLI names what is plugged in."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from autocomp.errors import AutocompError, unknown


def parse_spec(text: str) -> tuple[str, dict[str, Any]]:
    """Splits `joint:weight_bits=2/4/8,discrete=true` into its name and options.

    Values are read as whole numbers, numbers, true/false, or text; `2/4/8` and `1:4/2:4` become a
    tuple, and other texts with a slash stay as they are (paths).

    Raises:
        AutocompError: if an option has no `=`, or is given twice.
    """
    name, _, rest = text.partition(":")
    options: dict[str, Any] = {}
    for part in filter(None, (p.strip() for p in rest.split(","))):
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise AutocompError(
                f"Options must read NAME:OPTION=VALUE,..., but got {part!r} in {text!r}."
            )
        if key in options:
            raise AutocompError(f"Each option is given once, but {key!r} is doubled in {text!r}.")
        options[key] = _value(value)
    return name.strip(), options


def split_outside(text: str, sign: str) -> list[str]:
    """Splits a text at each sign that stands outside of brackets."""
    parts, depth, start = [], 0, 0
    for at, found in enumerate(text):
        depth += (found == "(") - (found == ")")
        if found == sign and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]


def _value(text: str) -> Any:
    parts = text.split("/")
    if len(parts) > 1 and all(re.fullmatch(r"[\d.]+(:\d+)?", part) for part in parts):
        return tuple(_value(part) for part in parts)
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def construct(
    kind: str,
    name: str,
    factory: Callable[..., Any],
    options: Mapping[str, Any],
    error: type[AutocompError],
) -> Any:
    """Calls `factory(**options)` after checking that it knows every option.

    Raises:
        error: naming the unknown option and the nearest known one, or what the factory objected to.
    """
    if not callable(factory):
        raise error(
            f"The name of a {kind} must stand for its class or a function that makes one, but "
            f"{name!r} is {factory!r:.60}; register that."
        )
    parameters = inspect.signature(factory).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for option in options:
            if option not in parameters:
                raise error(unknown(f"option of {kind} {name!r}", option, parameters))
    for option, value in options.items():
        default = parameters[option].default if option in parameters else None
        number = isinstance(default, (int, float)) and not isinstance(default, bool)
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        if isinstance(default, bool) and not isinstance(value, bool):
            raise error(
                f"Option {option!r} of {kind} {name!r} must be true or false, but got "
                f"{value!r:.60}."
            )
        if number and (not fits or (isinstance(default, int) and not isinstance(value, int))):
            what = "a whole number" if isinstance(default, int) else "a number"
            raise error(f"Option {option!r} of {kind} {name!r} must be {what}, but got {value!r}.")
    try:
        return factory(**options)
    except AutocompError:
        raise
    except (TypeError, ValueError) as problem:
        raise error(f"The {kind} {name!r} does not take {dict(options)}: {problem}.") from problem
