"""Every error that Eaves raises on purpose, as one tree.

EavesError                    exit status 1, one sentence for the user
├── SettingsError             a recipe, dataset or option that cannot be meant
├── SceneError                a raster that cannot be read, or not without guessing
├── LabelError                labels that are broken, or do not belong to the scene
├── ModelFileError            a model file that is damaged, unsafe or does not fit
├── TrainingError             training that cannot go on
└── OutputError               a place that cannot be written

EavesWarning                  goes on, and says so; workflows count them at the end
"""

from __future__ import annotations


class EavesError(Exception):
    """An error with a remedy.

    The message always reads "Expected …, because … . Received … . Do … ." so that a person who
    sees it knows what was wanted, what came instead, and the next step.

    Args:
        expected: What would have been right (no final full stop).
        received: What came instead.
        do: The next step for the user.
        because: Why it has to be so; optional.

    Example:
        >>> str(EavesError("a band map", "4 bands for a 3-band model", "pass --bands 1,2,3"))
        'Expected a band map. Received 4 bands for a 3-band model. Do: pass --bands 1,2,3.'
    """

    def __init__(self, expected: str, received: str, do: str, *, because: str | None = None) -> None:
        self.expected, self.received, self.do, self.because = expected, received, do, because
        why = f", because {because}" if because else ""
        super().__init__(f"Expected {expected}{why}. Received {received}. Do: {do}.")

    def __reduce__(self):  # crossing a process border must not lose the parts
        return _rebuild, (type(self), self.expected, self.received, self.do, self.because)


def _rebuild(kind: type[EavesError], expected: str, received: str, do: str, because: str | None) -> EavesError:
    return kind(expected, received, do, because=because)


class SettingsError(EavesError):
    """A recipe, dataset or option that cannot be meant."""


class SceneError(EavesError):
    """A raster that cannot be read, or not without guessing."""


class LabelError(EavesError):
    """Labels that are broken, or do not belong to the scene."""


class ModelFileError(EavesError):
    """A model file that is damaged, unsafe, or does not fit."""


class TrainingError(EavesError):
    """Training that cannot go on."""


class OutputError(EavesError):
    """A place that cannot be written."""


class EavesWarning(UserWarning):
    """Something was mended, skipped or assumed; the message says what, with a count."""
