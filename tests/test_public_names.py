"""What ``import eaves`` offers, and what it does not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import eaves

TORCH = ("torch", "torchvision", "lightning", "segmentation_models_pytorch")
TORCH_FREE = ("scene", "labels", "exchange", "metrics", "footprints", "sample", "synth")


def loaded(code: str) -> set[str]:
    """Top modules that a fresh interpreter has after ``code``."""
    script = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_every_public_name_has_a_home():
    assert eaves.__all__ == sorted(eaves.__all__)
    assert set(eaves.__all__) == {*eaves._HOMES, "__version__"}
    assert dir(eaves) == eaves.__all__


@pytest.mark.parametrize("name", eaves.__all__)
def test_every_public_name_can_be_imported(name):
    thing = getattr(eaves, name)
    if name == "__version__":
        assert thing.count(".") >= 2
    else:
        assert thing is getattr(import_module(f"eaves.{eaves._HOMES[name]}"), name)
        assert thing.__doc__


def test_a_type_checker_sees_the_same_names():
    tree = ast.parse(Path(eaves.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {
        alias.name: (statement.module or "").removeprefix("eaves.")
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert seen == eaves._HOMES


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="no attribute 'extract_rooftops'"):
        eaves.extract_rooftops  # noqa: B018  # pyright: ignore


def test_the_package_is_light():
    names = loaded("import eaves")
    assert not names & {*TORCH, "rasterio", "geopandas", "numpy", "numba", "matplotlib", "pydantic"}
    assert len(names) < 150  # beside what Python itself brings, next to nothing


def test_the_command_line_is_light():
    names = loaded("import eaves.cli")
    assert not names & {*TORCH, "rasterio", "geopandas", "numba", "matplotlib"}


def test_geometry_and_measures_load_no_torch():
    """Every module of these rooms, in one interpreter: none may load it, so neither may all."""
    folder = Path(eaves.__file__).parent
    modules = [
        ".".join(("eaves", room, *([] if path.stem == "__init__" else [path.stem])))
        for room in TORCH_FREE
        for path in sorted((folder / room).glob("*.py"))
    ]
    assert len(modules) > 3 * len(TORCH_FREE)
    names = loaded(f"import {', '.join(modules)}")
    assert not names & set(TORCH)
