"""The one idea of lossforge: a component is a frozen pydantic model, and its fields are its options."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, TypeAlias, final

from pydantic import BaseModel, ConfigDict, Field

API_VERSION = 1
"""Version of the plugin interface; raised when a plugin written for the previous one can no longer work."""

Count: TypeAlias = Annotated[int, Field(le=10**9)]
"""Type of an option that counts: a product of two counts fits 63 bits, so that none ends in an overflow of its own."""


class Options(BaseModel):
    """A group of options: frozen, strict, and without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False)

    @final
    def within(self) -> Iterator[Options]:
        """Yield itself and all groups of options in its fields, and in theirs."""
        yield self
        for _, value in self:
            for each in value if isinstance(value, tuple) else (value,):
                if isinstance(each, Options):
                    yield from each.within()


class Component(Options):
    """A part of a search that a spec names by its ``type``.

    A concrete component declares ``type: Literal["name"] = "name"``, where ``name`` is that of its entry point in the
    group ``lossforge.<kind>``. It holds options only; whatever changes during a run is a :data:`lossforge.types.State`.
    """

    kind: ClassVar[str]
    """Registry the component belongs to, such as ``"mutations"``; set by the base classes of ``interfaces``."""

    api_version: ClassVar[int] = API_VERSION
    """Version of the plugin interface that the class was written for."""

    type: str

    @property
    def label(self) -> str:
        """The type, with the options that are not the defaults: ``gce`` or ``gce(q=0.5)``."""
        options = self.model_dump(mode="json", exclude_defaults=True, exclude={"type"})
        inside = ", ".join(f"{name}={_label_of(getattr(self, name), value)}" for name, value in options.items())
        return f"{self.type}({inside})" if inside else self.type


def _label_of(value: object, plain: object) -> str:
    """Return an option's value in a label; components have labels of their own."""
    return value.label if isinstance(value, Component) else str(plain)
