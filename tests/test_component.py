"""Options made in Python say which field is meant by one that they do not have."""

from __future__ import annotations

import inspect

import pytest
from pydantic import ValidationError

import lossforge
from lossforge.component import Options
from lossforge.spec.training import Triangular


class Inner(Options):
    warmth: int = 0


class Outer(Options):
    size: int = 1
    inner: Inner = Inner()


def notes_of(call) -> list[str]:
    with pytest.raises(ValidationError) as error:
        call()
    return getattr(error.value, "__notes__", [])


@pytest.mark.parametrize(
    ("call", "notes"),
    [
        (lambda: Outer(sise=2), ["unknown field 'sise': did you mean 'size'?"]),
        (
            lambda: Outer(sise=2, zzz=3, size="x"),
            ["unknown field 'sise': did you mean 'size'?", "unknown field 'zzz':"],
        ),
        (lambda: Outer(zzz=3), ["unknown field 'zzz': known fields: size, inner"]),
        (lambda: Outer(**{"z" * 10**6: 3}), ["unknown field 'zzz"]),
        (lambda: Outer(inner=Inner(warmht=1)), ["unknown field 'warmht': did you mean 'warmth'?"]),
        (lambda: Outer(size="x"), []),
        (lambda: Outer.model_validate({"sise": 2}), []),  # of a spec's file, which is told in words of its own
        (lambda: lossforge.losses.get("focal", gama=2.0), ["unknown field 'gama': did you mean 'gamma'?"]),
        (
            lambda: lossforge.train("mae", dataset="fake", model="resnet8", epoch=2),
            ["unknown field 'epoch': did you mean 'epochs'?"],
        ),
    ],
)
def test_the_nearest_field_is_noted(call, notes):
    found = notes_of(call)
    assert len(found) == len(notes)
    assert all(each.startswith(note) for each, note in zip(found, notes, strict=True))


def test_a_schedule_by_its_class_is_told_to_be_called():
    with pytest.raises(ValidationError, match=r"got the class Triangular; write Triangular\(\)"):
        lossforge.TrainingSpec(dataset="fake", model="resnet8", schedule=Triangular)


def test_fields_are_still_the_arguments():
    assert list(inspect.signature(Outer).parameters) == ["size", "inner"]
    assert Outer(size=3) == Outer.model_validate({"size": 3}) == Outer.model_validate_json('{"size": 3}')
