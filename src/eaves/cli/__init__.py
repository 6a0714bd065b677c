"""The command line: one command a verb. The only place that prints."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from rich.markup import escape

from eaves.cli import change, data, footprints, networks, refining, scenes  # noqa: F401 - their import registers the commands
from eaves.cli.app import app, console, errors
from eaves.errors import EavesError, EavesWarning


def main(arguments: list[str] | None = None) -> None:
    """Run the command line: 0 on success, 1 on a failure that is explained, 2 on wrong use, 130 on Ctrl-C."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    warnings.showwarning = _show_warning
    try:
        app(arguments, console=console, error_console=errors, exit_on_error=False, print_error=True)
    except EavesError as error:
        errors.print(f"[red]error[/]: {escape(str(error))}")
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        errors.print("stopped")
        raise SystemExit(130) from None
    except SystemExit:
        raise
    except Exception as error:
        if type(error).__module__.startswith("cyclopts"):
            raise SystemExit(2) from None
        raise


def _show_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any) -> None:
    if issubclass(category, EavesWarning):
        errors.print(f"[yellow]warning[/]: {escape(str(message))}")
    else:
        logging.getLogger("py.warnings").debug("%s:%s: %s", filename, lineno, message)
