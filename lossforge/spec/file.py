"""What specs that are files of their own have in common: to be read, with overrides, and to be written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field

from lossforge.component import Options
from lossforge.spec import dump, load
from lossforge.spec.names import NAME_PATTERN


class FileSpec(Options):
    """A spec that is a file of its own; ``model_dump(mode="json")`` is the spec again."""

    SCHEMA_FILE: ClassVar[str]
    """What its JSON schema is called, which the first line of a spec written by :meth:`to_yaml` names to editors."""

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """Read a spec file, with ``a.b.0.c=value`` overrides on top.

        Raises:
            SpecError: the file or an override cannot be read or is not valid; every problem is told with its place.
            PluginError: an installed plugin that the spec names is at fault.
        """
        return load.from_file(cls, Path(path), overrides)

    def to_yaml(self) -> str:
        """Return the spec as YAML, with every default written out; it reads back as an equal spec."""
        return dump.to_yaml(self, self.SCHEMA_FILE)


class TrainingFileSpec(FileSpec):
    """A spec of which ``training`` is all that has to be given, if only by overrides."""

    @classmethod
    def from_overrides(cls, overrides: Sequence[str]) -> Self:
        """Return the spec that ``a.b=value`` overrides make of nothing; raises as :meth:`from_yaml`."""
        return load.from_text(cls, "training: {}", "training", overrides)


class StudySpec(TrainingFileSpec):
    """What a study by trainings is called, its seed, and where it is carried out."""

    schema_version: Literal[1] = 1
    name: str = Field(min_length=1, max_length=100, pattern=NAME_PATTERN)
    description: str = ""
    seed: int = Field(default=0, ge=0, lt=2**63, description="of everything random")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto: CUDA where there is one, else the CPU"
    )
