"""The one idea of lossforge: a component is a frozen pydantic model, and its fields are its options."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeAlias, final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

API_VERSION = 1
"""Version of the plugin interface; raised when a plugin written for the previous one can no longer work."""

Count: TypeAlias = Annotated[int, Field(le=10**9)]
"""Type of an option that counts: a product of two counts fits 63 bits, so that none ends in an overflow of its own."""


class Options(BaseModel):
    """A group of options: frozen, strict, and without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False)

    if not TYPE_CHECKING:  # for type checkers, the fields are the arguments

        def __init__(self, /, **data: Any) -> None:
            try:
                super().__init__(**data)
            except ValidationError as error:
                _note_nearest(error, tuple(type(self).model_fields))
                raise

        __init__.__pydantic_base_init__ = True  # what is read from a spec passes it by, and has words of its own

    @final
    def within(self) -> Iterator[Options]:
        """Yield itself and all groups of options in its fields, and in theirs."""
        yield self
        for _, value in self:
            for each in value if isinstance(value, tuple) else (value,):
                if isinstance(each, Options):
                    yield from each.within()


def _note_nearest(error: ValidationError, known: tuple[str, ...]) -> None:
    """Add to an error, for each unknown field, the nearest of those that are known: pydantic's text leaves it out."""
    import difflib  # here: it is rarely needed

    for details in error.errors(include_url=False):
        if details["type"] == "extra_forbidden" and len(details["loc"]) == 1:
            name = str(details["loc"][0])[:100]
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known fields: {', '.join(known)}"
            error.add_note(f"unknown field {name!r}: {hint}")


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
