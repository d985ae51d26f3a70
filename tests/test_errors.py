"""Errors come out of another process as they were."""

from __future__ import annotations

import pickle

import pytest

from lossforge import errors

CLASSES = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.LossforgeError)]


@pytest.mark.parametrize("error_class", CLASSES)
def test_pickling_leaves_type_and_text(error_class):
    error = errors.SpecError(["a: wrong", "b: too"]) if error_class is errors.SpecError else error_class("wrong")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is error_class
    assert str(again) == str(error)


def test_a_spec_error_has_a_line_a_problem():
    error = errors.SpecError(["a: wrong", "b: too"])
    assert str(error) == "a: wrong\nb: too"
    assert pickle.loads(pickle.dumps(error)).problems == ("a: wrong", "b: too")
