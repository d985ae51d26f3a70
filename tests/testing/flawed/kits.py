"""A kit for each flawed component, as a plugin author writes it; run by ``test_flawed_components.py``."""

import importlib

import pytest

from lossforge import registry, testing
from lossforge.component import Component


class LinesKit(testing.TrackerKit):
    """What flawed trackers write is read as lines of JSON."""

    library = "wave"

    def read(self, component, run):
        shown = {}
        for name, step, value in importlib.import_module("flawed_trackers").lines(run.path / "lines.jsonl"):
            shown.setdefault(name, []).append((step, value))
        return shown


KITS = {
    "parameterizations": testing.ParameterizationKit,
    "samplers": testing.SamplerKit,
    "objectives": testing.ObjectiveKit,
    "mutations": testing.MutationKit,
    "strategies": testing.StrategyKit,
    "losses": testing.LossKit,
    "datasets": testing.DatasetKit,
    "models": testing.ModelKit,
    "trackers": LinesKit,
}

for kind in registry.KINDS:
    module = importlib.import_module(f"flawed_{kind}")
    for cls in list(vars(module).values()):
        if isinstance(cls, type) and issubclass(cls, Component) and cls.__module__ == module.__name__:
            component = pytest.fixture(name="component")(lambda self, cls=cls: cls())
            globals()[f"Test{cls.__name__}"] = type(f"Test{cls.__name__}", (KITS[kind],), {"component": component})
