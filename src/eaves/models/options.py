"""The arguments of a constructor as settings that check themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import create_model

from eaves.settings import Settings


@cache
def options_of(kind: type, leave_out: frozenset[str] = frozenset(), *, keyword_only: bool = True) -> type[Settings]:
    """Make a settings class of a constructor's arguments.

    Args:
        kind: The class; its annotations say what the values may be.
        leave_out: Names that are not options.
        keyword_only: Take only the arguments that must be named; else all that can be.

    Returns:
        Settings with one field an argument. Unknown names and wrong values are refused where it is parsed.

    Example:
        >>> from eaves.models.segnet import SegNet
        >>> options_of(SegNet)()
        SegNetOptions(unpool='indices')
    """
    hints = get_type_hints(kind.__init__, include_extras=True)
    wanted = {inspect.Parameter.KEYWORD_ONLY}
    if not keyword_only:
        wanted.add(inspect.Parameter.POSITIONAL_OR_KEYWORD)
    fields: dict[str, Any] = {
        name: (_finite(hints[name]), parameter.default)
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.kind in wanted and name not in leave_out
    }
    return create_model(f"{kind.__name__}Options", __base__=Settings, **fields)


def _finite(hint: Any) -> Any:
    """An iterable is only checked as it is consumed, and then it is gone; a sequence says the same and stays."""
    return Sequence[get_args(hint)[0]] if get_origin(hint) is Iterable else hint
