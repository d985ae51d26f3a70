"""A field annotated with ``Plugin`` holds a component, given as itself, as a mapping or by its type."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from lossforge import registry
from lossforge.component import Component
from lossforge.errors import PluginLoadError
from lossforge.plugin_field import Plugin


class Holder(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    step: Annotated[Any, Plugin("mutations")]
    more: tuple[Annotated[Any, Plugin("mutations")], ...] = ()


class Homemade(Component):
    kind: ClassVar[str] = "mutations"
    type: Literal["homemade"] = "homemade"


class Demanding(Homemade):
    sigma: float


class OfAnotherKind(Component):
    kind: ClassVar[str] = "losses"
    type: Literal["of_another_kind"] = "of_another_kind"


class OfNoKind(Component):
    type: Literal["of_no_kind"] = "of_no_kind"


def messages(data: Any) -> list[tuple[tuple[int | str, ...], str]]:
    with pytest.raises(ValidationError) as caught:
        Holder.model_validate(data)
    return [(error["loc"], error["msg"]) for error in caught.value.errors()]


@pytest.fixture(autouse=True)
def _toy_step(install: Any) -> None:
    install.mutation("toy-steps", "toy_step")


def test_a_type_alone_is_the_component_with_its_defaults() -> None:
    toy = registry.get("mutations", "toy_step")
    assert Holder.model_validate({"step": "toy_step"}).step == toy(type="toy_step")


def test_an_instance_is_kept() -> None:
    toy = registry.get("mutations", "toy_step")(type="toy_step")
    assert Holder(step=toy).step is toy


def test_a_mapping_is_read_as_json_on_both_levels() -> None:
    held = Holder.model_validate({"step": {"type": "toy_step", "bounds": [1, 2]}, "more": ("toy_step",)})
    assert held.step.bounds == (1.0, 2.0)
    assert Holder.model_validate_json(held.model_dump_json()) == held
    assert held.model_dump(mode="json")["step"] == {"type": "toy_step", "sigma": 0.1, "bounds": [1.0, 2.0]}


def test_all_errors_come_at_once_with_their_exact_places() -> None:
    found = messages({"step": {"type": "toy_step", "sigma": "x"}, "more": ({"type": "toy_step", "sgima": 1},)})
    assert [location for location, _ in found] == [("step", "sigma"), ("more", 0, "sgima")]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (OfAnotherKind(), "expected one of mutations, got 'of_another_kind' of losses"),
        (OfNoKind(), "expected one of mutations, got 'of_no_kind' of no kind"),
        (3, "expected a mapping with a 'type'; installed: {installed}"),
        (None, "expected a mapping with a 'type'; installed: {installed}"),
        (Homemade, "expected an instance, got the class Homemade; write Homemade()"),
        (Demanding, "expected an instance, got the class Demanding; write Demanding(...)"),
        (OfAnotherKind, "expected one of mutations, got the class OfAnotherKind"),
        (int, "expected one of mutations, got the class int"),
        ({"typ": "toy_step"}, "unknown field 'typ' (did you mean 'type'?); installed mutations: {installed}"),
        ({"tpye": "toy_step", 3: 4}, "unknown field 'tpye' (did you mean 'type'?); installed mutations: {installed}"),
        ({"type": None}, "'type' is missing; installed mutations: {installed}"),
        ({"sigma": 1.0}, "'type' is missing; installed mutations: {installed}"),
        ({"type": 3}, "'type' must be a string; installed mutations: {installed}"),
        ("toy_stpe", "unknown type 'toy_stpe' (did you mean 'toy_step'?); installed mutations: {installed}"),
        ("{qqq}", "unknown type '{qqq}'; installed mutations: {installed}"),
    ],
)
def test_what_is_no_component_is_refused(value: object, message: str) -> None:
    expected = message.replace("{installed}", ", ".join(registry.types("mutations")))
    assert messages({"step": value}) == [(("step",), expected)]


def test_options_that_are_no_plain_values_are_refused() -> None:
    ((location, message),) = messages({"step": {"type": "toy_step", "sigma": object()}})
    assert location == ("step",)
    assert message.startswith("options of 'toy_step' must be plain values (mappings, lists, strings, numbers): ")


def test_a_class_that_nothing_installed_provides_is_dumped_as_such_and_refused_from_a_spec() -> None:
    dumped = Holder(step=Homemade()).model_dump(mode="json")
    assert dumped["step"] == {"type": "homemade", "unregistered": True}
    with pytest.raises(ValidationError, match=r"'homemade' is a class that was defined in Python"):
        Holder.model_validate_json(json.dumps(dumped))


def test_a_homemade_class_under_an_installed_name_is_not_the_installed_one() -> None:
    class Impostor(Homemade):
        type: Literal["toy_step"] = "toy_step"  # type: ignore[assignment]

    assert not registry.is_registered(Impostor())
    assert Holder(step=Impostor()).model_dump(mode="json")["step"]["unregistered"] is True


def test_a_class_that_its_package_hands_on_is_registered(install: Any) -> None:
    install("toy-front", "[lossforge.mutations]\ntoy_front = toy_front:Front\n", HANDED_ON)
    install("toy-back", "", BACK)
    front = registry.get("mutations", "toy_front")
    assert front.__module__ == "toy_back"
    assert registry.is_registered(front(type="toy_front"))


HANDED_ON = "from toy_back import Front"
BACK = """
    from typing import ClassVar, Literal
    from lossforge.component import Component

    class Front(Component):
        kind: ClassVar[str] = "mutations"
        type: Literal["toy_front"] = "toy_front"
"""


def test_a_name_that_cannot_be_loaded_registers_nothing(install: Any) -> None:
    install("toy-broken", "[lossforge.mutations]\nhomemade = toy_broken:Toy\n", "raise ImportError('x')")
    assert not registry.is_registered(Homemade())


def test_a_broken_plugin_is_not_taken_for_a_mistake_in_the_spec(install: Any) -> None:
    install("toy-broken", "[lossforge.mutations]\ntoy_broken = toy_broken:Toy\n", "raise ImportError('x')")
    with pytest.raises(PluginLoadError, match="toy-broken"):
        Holder.model_validate({"step": "toy_broken"})


@pytest.mark.parametrize(
    "raised", ["RuntimeError('licence server')", "KeyError('licence server')", "SystemExit(0)", "KeyboardInterrupt()"]
)
def test_whatever_a_validator_raises_names_its_plugin(install: Any, raised: str) -> None:
    code = f"""
    from typing import ClassVar, Literal
    from pydantic import model_validator
    from lossforge.component import Component

    class Toy(Component):
        kind: ClassVar[str] = "mutations"
        type: Literal["toy_boom"] = "toy_boom"

        @model_validator(mode="after")
        def _check(self):
            raise {raised}
    """
    install("toy-boom", "[lossforge.mutations]\ntoy_boom = toy_boom:Toy\n", code)
    with pytest.raises(PluginLoadError) as caught:
        Holder.model_validate({"step": "toy_boom"})
    name = raised.partition("(")[0]
    start = f"plugin toy-boom 1.0 (toy_boom:Toy) fails to check the options of mutations 'toy_boom': {name}"
    assert str(caught.value).startswith(start)
    assert str(caught.value).endswith("; update or uninstall toy-boom")
