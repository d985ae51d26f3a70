"""The errors lossforge raises on purpose, each with the exit code of the command line::

    LossforgeError                  1
    |-- SpecError                   2   a spec that cannot be read or is not valid
    |-- UnknownComponentError       2   a component type that nothing installed provides
    |-- RunDirectoryError           2   a run directory that cannot be used as asked
    |-- OutputError                 2   a file that cannot be written where the user says
    |-- ProjectError                2   a new plugin that cannot be written as asked
    |-- ArtifactError               2   an artifact that is missing, damaged or too new
    |-- DataError                   2   a dataset that is not where it should be
    |-- PluginError                 3   a plugin, or a component of your own, that is at fault
    |   |-- PluginLoadError         3   ... it cannot be imported, or is not what its entry point promises
    |   |   `-- PluginVersionError    3   ... or was written for another version of the plugin interface
    |   `-- PluginConflictError     3   ... two distributions claim one name
    |-- SearchError                 1   a search that cannot go on
    |   `-- NothingFoundError       1   ... or has ended with no loss to show
    |       `-- NoFeasibleSolutionError 1   ... for no candidate passed the gates
    |-- NotEnoughMemoryError        1   sizes of a spec for which memory is not enough
    `-- RunInterrupted            130   stopped from outside; the checkpoint is saved

A message says what is wrong, where, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence


class LossforgeError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 1


class SpecError(LossforgeError):
    """A spec that cannot be read or is not valid; ``problems`` holds one located message each."""

    exit_code = 2

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(self.problems)


class UnknownComponentError(LossforgeError):
    """A component type that nothing installed provides."""

    exit_code = 2


class RunDirectoryError(LossforgeError):
    """A run directory that cannot be used as asked."""

    exit_code = 2


class OutputError(LossforgeError):
    """A file that cannot be written where the user says."""

    exit_code = 2


class ProjectError(LossforgeError):
    """A new plugin that cannot be written as asked."""

    exit_code = 2


class ArtifactError(LossforgeError):
    """An artifact that is missing, damaged or written by a newer version."""

    exit_code = 2


class DataError(LossforgeError):
    """A dataset that is not where it should be, or not what it should be."""

    exit_code = 2


class PluginError(LossforgeError):
    """A plugin, or a component of your own, that is at fault."""

    exit_code = 3


class PluginLoadError(PluginError):
    """A plugin that cannot be imported, or is not what its entry point promises."""


class PluginVersionError(PluginLoadError):
    """A plugin that was written for another version of the plugin interface, which is ``api_version``."""

    def __init__(self, message: str, api_version: int = 0) -> None:
        self.api_version = api_version
        super().__init__(message)


class PluginConflictError(PluginError):
    """Two distributions that claim one component name."""


class SearchError(LossforgeError):
    """A search that cannot go on."""


class NothingFoundError(SearchError):
    """A search that has ended with no loss to show."""


class NoFeasibleSolutionError(NothingFoundError):
    """No candidate passed the gates: for ``patience`` generations, or of those that the winner is chosen from."""


class NotEnoughMemoryError(LossforgeError, MemoryError):
    """Sizes of a spec for which memory is not enough."""


class RunInterrupted(LossforgeError):  # noqa: N818  it is an interruption, not an error
    """A run stopped from outside after its checkpoint was saved."""

    exit_code = 130
