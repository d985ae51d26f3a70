"""What holds for a component of any kind."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import sys
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from lossforge import registry
from lossforge.component import Component
from lossforge.plugin_field import Plugin
from lossforge.testing.randomness import global_state_restored, seed_everything

DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
"""What the checks of tensors run on."""

MUTABLE = (list, dict, set, bytearray, Tensor, torch.Generator)
INTERFACES = ("lossforge.interfaces", "lossforge.component")


class ComponentKit:
    """Checks of a component as the model of its options; base of the kits of each kind.

    Subclass the kit of the kind, name the class ``Test...``, and define the fixture ``component``.
    """

    base: ClassVar[type[Component]] = Component
    """Base class of the kind."""

    @pytest.fixture
    def component(self) -> Any:
        """Return the component to check; to be defined by every subclass."""
        pytest.fail(f"{type(self).__name__} needs a fixture `component` that returns the component to check")

    @pytest.fixture(params=DEVICES)
    def device(self, request: pytest.FixtureRequest) -> str:
        """Return each device there is."""
        return str(request.param)

    @pytest.fixture(autouse=True)
    def global_seed(self) -> Iterator[None]:
        """Seed the global generators alike before each check, and put them back after it."""
        with global_state_restored():
            seed_everything(0)
            yield

    def test_it_is_of_its_kind(self, component: Component) -> None:
        """It derives from the base class of its kind, and says so."""
        assert isinstance(component, self.base), (
            f"{type(component).__name__} does not derive from lossforge.interfaces.{self.base.__name__}"
        )
        assert component.kind == self.base.kind, f"its kind is {component.kind!r}, that of its base {self.base.kind!r}"

    def test_the_registry_finds_it_by_its_type(self, component: Component) -> None:
        """An installed entry point has the name of its ``type``, and leads back to this very class."""
        kind, name, cls = component.kind, component.type, type(component)
        target = f"{cls.__module__}:{cls.__qualname__}"
        others = [offer.type for offer in registry.offers(kind) if offer.target == target and offer.type != name]
        assert not others, (
            f"the entry point of {target} is called {others[0]!r}, its type is {name!r}: give both the same name"
        )
        assert name in registry.types(kind), (
            f"no installed distribution offers {kind} {name!r}: add '{name} = \"{target}\"' to "
            f'[project.entry-points."lossforge.{kind}"] in pyproject.toml, and install it'
        )
        found = registry.get(kind, name)
        assert found is cls, (
            f"the entry point {name!r} leads to {found.__module__}:{found.__qualname__}, not to {target}"
        )

    def test_its_type_is_one_literal(self, component: Component) -> None:
        """``type`` takes the one value that is its default: in a schema and in an editor no other name is right."""
        cls = type(component)
        field = cls.model_fields["type"]
        assert (get_origin(field.annotation), get_args(field.annotation)) == (Literal, (field.default,)), (
            f'{cls.__name__}.type takes other values, too: declare type: Literal["{field.default}"] = "{field.default}"'
        )

    def test_it_is_frozen(self, component: Component) -> None:
        """Options cannot be changed; what changes during a run is a state."""
        with contextlib.suppress(ValidationError):
            setattr(component, "type", component.type)  # noqa: B010 - the type checker knows that it is frozen
            pytest.fail(f"{type(component).__name__} is not frozen: leave model_config as Component has it")

    def test_unknown_options_are_refused(self, component: Component) -> None:
        """A misspelt option is an error."""
        options = {**json.loads(component.model_dump_json()), "no_such_option": 1}
        with contextlib.suppress(ValidationError):
            type(component).model_validate_json(json.dumps(options))
            pytest.fail(f"{type(component).__name__} accepts unknown options: keep extra='forbid' in model_config")

    def test_options_survive_json(self, component: Component) -> None:
        """Dumped as JSON and read again it is equal, alone and as part of a spec."""
        text = component.model_dump_json()
        again = type(component).model_validate_json(text)
        assert again == component, f"options changed on their way through JSON: {component!r} became {again!r}"
        assert again.model_dump_json() == text, f"dumped again, the options differ: {again.model_dump_json()}, {text}"
        if registry.is_registered(component):
            found = _field(component.kind).validate_python(json.loads(text))
            assert found == component, f"the spec's field read {component!r} as {found!r}"

    def test_class_and_module_have_docstrings(self, component: Component) -> None:
        """Each has one of its own, whose first line is a whole sentence of at most 120 characters."""
        cls = type(component)
        module = sys.modules.get(cls.__module__)
        for what, text in (
            (f"class {cls.__name__}", vars(cls).get("__doc__")),
            (f"module {cls.__module__}", module and module.__doc__),
        ):
            summary = (text or "").strip().partition("\n")[0].strip()
            assert summary, f"{what} has no docstring; its first line is what a user reads in a list of components"
            assert summary.endswith((".", "!", "?")), (
                f"the docstring of {what} does not begin with a line that is a whole sentence: {summary!r}"
            )
            assert len(summary) <= 120, (
                f"the first line of the docstring of {what} has {len(summary)} characters, > 120"
            )

    def test_options_are_described(self, component: Component) -> None:
        """Each whose name is more than one word has ``Field(description=...)``; others may speak for themselves."""
        fields = type(component).model_fields
        missing = [name for name, field in fields.items() if "_" in name and not (field.description or "").strip()]
        assert not missing, f"options without a description: {', '.join(missing)}; give each Field(description=...)"

    def test_nothing_mutable_is_shared(self, component: Component) -> None:
        """Neither defaults nor attributes of the class can carry anything from one instance to another."""
        for name, field in type(component).model_fields.items():
            assert not isinstance(field.default, MUTABLE), (
                f"the default of {name!r} is a {type(field.default).__name__}; use a tuple, or another frozen value"
            )
        for cls in _written_by_the_author(type(component)):
            for name, value in vars(cls).items():
                assert name.startswith(("__", "_abc", "model_")) or not isinstance(value, MUTABLE), (
                    f"{cls.__name__}.{name} is a {type(value).__name__} that all instances share; "
                    "what changes belongs into a state"
                )

    def test_no_concrete_method_of_the_interface_is_overridden(self, component: Component) -> None:
        """A method of the interface is abstract or final; what is concrete is relied on as it is."""
        for cls in _written_by_the_author(type(component)):
            for above in cls.__mro__[1:]:
                for name in vars(cls).keys() & vars(above).keys():
                    assert not _is_final(above, name), (
                        f"{cls.__name__}.{name} overrides {above.__name__}.{name}, which is final"
                    )


def require_registered(component: Component) -> None:
    """Skip a check that loads the component from the registry, where it cannot be."""
    if not registry.is_registered(component):
        pytest.skip("it is not installed under its type, which test_the_registry_finds_it_by_its_type tells")


@functools.cache
def _field(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter(Annotated[Any, Plugin(kind)])


def _written_by_the_author(cls: type) -> Iterator[type[Component]]:
    """Yield the class and those above it, down to those of lossforge's interfaces."""
    for each in cls.__mro__:
        if issubclass(each, Component) and each.__module__ not in INTERFACES:
            yield each


def _is_final(cls: type, name: str) -> bool:
    value = vars(cls)[name]
    function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
    if not inspect.isfunction(function) or getattr(value, "__isabstractmethod__", False):
        return False
    ours = cls.__module__ in INTERFACES and not name.startswith("__")
    return ours or getattr(function, "__final__", False)
