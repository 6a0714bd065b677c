"""What every result says about its origin."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eaves.exchange.provenance import fingerprint
from eaves.version import __version__


def provenance(verb: str, inputs: Mapping[str, str | Path], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Describe how a result came to be, as JSON can hold it.

    Args:
        verb: The command.
        inputs: Role → file or URL; files are fingerprinted.
        settings: Everything that shaped the result.
    """
    return {
        "command": f"eaves {verb}",
        "version": __version__,
        "inputs": {role: _mark(str(path)) for role, path in inputs.items()},
        "settings": dict(settings),
    }


def _mark(path: str) -> dict[str, str]:
    return {"path": path} | ({"fingerprint": fingerprint(path)} if Path(path).exists() else {})
