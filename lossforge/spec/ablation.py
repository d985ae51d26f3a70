"""What an ablation is: variants of one search, compared over seeds in each of several settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from lossforge.component import Count
from lossforge.spec import load
from lossforge.spec.arms import SETTINGS, VARIANTS, ArmKey, read
from lossforge.spec.document import Document, Spot
from lossforge.spec.file import FileSpec
from lossforge.spec.model import RunSpec
from lossforge.spec.names import NAME_PATTERN
from lossforge.spec.problems import Source, spec_error

Changes = dict[str, Any]
"""Dotted field of a spec to its value, as in ``{search.strategy.sigma: 0.1}``."""


class AblationSpec(FileSpec):
    """Variants x settings x seeds of one base spec; ``model_dump(mode="json")`` is the spec again."""

    SCHEMA_FILE: ClassVar[str] = "lossforge-ablation.schema.json"

    schema_version: Literal[1] = 1
    name: str = Field(min_length=1, max_length=100, pattern=NAME_PATTERN)
    description: str = ""
    base: str = Field(min_length=1, description="preset, or path of a spec file, relative to this file")
    settings: dict[str, Changes] = Field(
        default={"base": {}}, min_length=1, description="name to changes of the base; variants compare within one"
    )
    variants: dict[str, Changes] = Field(min_length=2, description="name to changes on top of those of the setting")
    reference: str | None = Field(
        default=None, validate_default=True, description="variant that the others are compared with; null: the first"
    )
    seeds: int = Field(
        default=20, ge=2, le=10**5, description="searches of each variant in each setting: seeds 0, 1, 2, ..."
    )
    targets: dict[str, FiniteFloat] = Field(
        default={},
        description="setting to a fitness to be reached; without one, the upper median of the ends of the reference",
    )
    curve_points: Count = Field(default=50, ge=2, description="generations, evenly spaced, that are judged afresh")
    equal_step_variance: bool = Field(
        default=True, description="refuse variants of one setting whose mutation steps have different variances"
    )
    confidence: float = Field(default=0.95, gt=0, lt=1, description="level of the intervals")

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        if self.reference is not None and self.reference not in self.variants:
            raise ValueError(f"reference {self.reference!r} is none of the variants: {', '.join(self.variants)}")
        unknown = [name for name in self.targets if name not in self.settings]
        if unknown:
            raise ValueError(f"targets for {unknown[0]!r}, which is none of the settings: {', '.join(self.settings)}")
        return self

    @property
    def reference_variant(self) -> str:
        """The variant that the others are compared with."""
        return self.reference or next(iter(self.variants))

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """Read an ablation file, with ``a.b=value`` overrides on top; its base and all variants are checked with it.

        Raises:
            SpecError: the file, an override or the base cannot be read or is not valid, or a variant makes no valid
                spec of it; every problem is told once with its place, as
                ``study.yaml:14:7: variants.big.search.strategy.sgima: unknown field (did you mean 'sigma'?)``.
            PluginError: an installed plugin that is named is at fault.
        """
        document = load.document_of_file(cls, Path(path), overrides, (SETTINGS, VARIANTS))
        document.problems.extend(read(document, Path(path).parent)[1])
        return load.validated(cls, document)

    def arms(self, folder: Path) -> dict[ArmKey, RunSpec]:
        """Return the spec of each setting and variant: a search alone, on one worker, without references.

        Raises:
            SpecError: the base is not to be had in ``folder``, or they are not valid; every problem is told once.
            PluginError: an installed plugin that is named is at fault.
        """
        nowhere = Source("", has_lines=False).at(0, 0)
        specs, problems = read(Document(self.model_dump(mode="json"), {(): Spot(nowhere, nowhere)}), folder)
        if problems:
            raise spec_error(problems)
        return specs
