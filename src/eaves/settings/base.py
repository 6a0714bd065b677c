"""Frozen settings: anything unknown is refused with the nearest known name."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from eaves.errors import SettingsError

S = TypeVar("S", bound="Settings")


class Settings(BaseModel):
    """Base of all settings: immutable, and a key that does not exist is an error.

    TOML has no null, so the word ``none`` unsets a number that is optional.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    @model_validator(mode="before")
    @classmethod
    def _none_unsets(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        kinds = {key: get_args(field.annotation) for key, field in cls.model_fields.items()}
        unset = {
            key for key, kind in kinds.items() if data.get(key) == "none" and type(None) in kind and str not in kind
        }
        return {key: None if key in unset else value for key, value in data.items()}


def load_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        SettingsError: The file is missing or is not TOML; the message has the line.
    """
    path = Path(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors begin a file with a mark
    except FileNotFoundError:
        raise SettingsError("a TOML file", f"{path}, which does not exist", "check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError("a TOML file", f"{path}: {error}", "mend the file") from None


def parse(kind: type[S], data: dict[str, Any], *, source: str) -> S:
    """Check ``data`` against ``kind``.

    Args:
        kind: The settings class.
        data: Nested dictionaries as TOML gives them.
        source: What to call the origin in messages.

    Raises:
        SettingsError: A key is unknown (the message has the nearest known one), missing, or out of range.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        # A misspelt key also leaves the right one missing: the misspelling is what to tell.
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        where = _place(first["loc"])
        places = {_place(one["loc"]) for one in error.errors()}
        others = sum(not f"{where}.".startswith(f"{place}.") for place in places)  # a list is not wrong beside its item
        more = f" (and {others} more)" if others else ""
        if first["type"] == "extra_forbidden":
            known = _names_beside(kind, first["loc"])
            raise SettingsError(
                f"known settings in {source}", f"unknown key {where!r}{more}", suggest(str(first["loc"][-1]), known)
            ) from None
        got = "nothing" if first["type"] == "missing" else repr(first["input"])[:200]
        raise SettingsError(f"{where} in {source}: {first['msg']}", f"{got}{more}", "mend it") from None


def override(data: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Apply ``key.sub=value`` assignments to nested dictionaries; values are read as TOML, else as plain text.

    Raises:
        SettingsError: An assignment has no ``=``, or its path runs through a plain value.

    Example:
        >>> override({"fit": {"epochs": 3}}, ["fit.epochs=5"])
        {'fit': {'epochs': 5}}
    """
    result = {key: (dict(value) if isinstance(value, dict) else value) for key, value in data.items()}
    for assignment in assignments:
        path, sign, text = assignment.partition("=")
        if not sign:
            raise SettingsError("key=value", repr(assignment), "write --set fit.epochs=5")
        try:
            value = tomllib.loads(f"v = {text}")["v"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        *parents, last = path.strip().split(".")
        inner = result
        for name in parents:
            child = inner.setdefault(name, {})
            if not isinstance(child, dict):
                raise SettingsError("a path of tables", f"{path!r}, but {name!r} is a value", "check the key")
            inner[name] = dict(child)
            inner = inner[name]
        inner[last] = value
    return result


def suggest(word: str, known: Sequence[str]) -> str:
    """Say what to write instead of an unknown word: the nearest known one, or all of them."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"write {near[0]!r}" if near else f"use one of {', '.join(sorted(known))}"


def _place(location: tuple[int | str, ...]) -> str:
    """A location as the file has it, without pydantic's names of a choice of types."""
    return ".".join(str(part) for part in location if "[" not in str(part))


def _names_beside(kind: type[Settings], location: tuple[int | str, ...]) -> list[str]:
    """The field names that the settings class at ``location`` (of an unknown key) does have."""
    current: Any = kind
    for part in location[:-1]:
        if isinstance(part, str) and hasattr(current, "model_fields") and part in current.model_fields:
            current = _settings_in(current.model_fields[part].annotation)
    fields: dict[str, Any] = current.model_fields
    return sorted(field.alias or key for key, field in fields.items())


def _settings_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _settings_in(arg)) is not None), None)
