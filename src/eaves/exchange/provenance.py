"""Where a result comes from: what is written into every artefact, and fingerprints of what went in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eaves.errors import SceneError

ITEM = "EAVES"
"""Name of the metadata item, JSON, that artefacts carry: a tag of rasters, a layer item of GeoPackage and the rest."""

_WHOLE_BYTES = 64 << 20
_SAMPLES, _SAMPLE_BYTES = 64, 1 << 20


def pack(metadata: Mapping[str, Any] | None) -> str:
    """Return metadata as one line of JSON; what JSON does not know (paths, dates) is written as text."""
    return json.dumps(dict(metadata or {}), ensure_ascii=False, default=str)


def unpack(text: str | bytes | None) -> dict[str, Any]:
    """Return what :func:`pack` was given; empty for anything that is not a JSON object, as in others' files."""
    try:
        data = json.loads(text or "{}")
    except (ValueError, UnicodeDecodeError):
        return {}
    return data if isinstance(data, dict) else {}


def fingerprint(path: str | Path) -> str:
    """Identify a file by its content; its name and dates do not matter.

    Up to 64 MiB the whole content counts. Beyond, the size and 64 evenly spaced blocks of 1 MiB, the first and the
    last among them, so that a scene of 100 GB takes a second: an edit between the blocks goes unseen.

    Args:
        path: A file, or a folder, whose files then count by their relative names and contents.

    Returns:
        ``sha256:…`` of the whole content, or ``sha256-sampled:…``.

    Raises:
        SceneError: The file cannot be read.

    Example:
        >>> fingerprint("scene.tif")  # doctest: +SKIP
        'sha256:5f2b…'
    """
    path = Path(path)
    try:
        if path.is_dir():
            digest = hashlib.sha256()
            for file in sorted(file for file in path.rglob("*") if file.is_file()):
                digest.update(f"{file.relative_to(path).as_posix()} {fingerprint(file)}\n".encode())
            return f"sha256:{digest.hexdigest()}"
        size = path.stat().st_size
        with path.open("rb") as file:
            if size <= _WHOLE_BYTES:
                return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
            digest = hashlib.sha256(str(size).encode())
            for sample in range(_SAMPLES):
                file.seek((size - _SAMPLE_BYTES) * sample // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))
            return f"sha256-sampled:{digest.hexdigest()}"
    except OSError as error:
        raise SceneError("a readable file", f"{path}: {error.strerror}", "check the path") from None
