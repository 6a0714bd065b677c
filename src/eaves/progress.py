"""How long work tells its caller how far it is. Only the command line turns this into something on a screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Progress(NamedTuple):
    """A moment of a long job.

    Attributes:
        stage: What is being done, in two or three words.
        done: Units done.
        total: Units in all.
        unit: What is counted, in the plural.
        note: Numbers worth seeing, such as the loss.
    """

    stage: str
    done: int
    total: int
    unit: str
    note: str = ""


OnProgress = Callable[[Progress], None]


def ignore(progress: Progress) -> None:
    """Take no notice: what functions use when nobody listens."""
