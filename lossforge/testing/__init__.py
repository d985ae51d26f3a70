"""Conformance kits: one base class a kind, which checks everything that lossforge promises of its components.

A plugin author subclasses the kit of a kind with one fixture, and pytest runs every check::

    from lossforge.testing import MutationKit

    class TestLaplace(MutationKit):
        @pytest.fixture
        def component(self):
            return LaplaceMutation()

Several sets of options are checked by giving that fixture parameters. What a check has to know and the component does
not say is an attribute of the kit, such as ``has_variance = False``. The components of lossforge run the same kits.
"""

from __future__ import annotations

try:
    import pytest  # noqa: F401 - what the kits cannot do without
except ModuleNotFoundError as cause:
    raise ImportError("lossforge.testing needs pytest: pip install 'lossforge[testing]'") from cause

from lossforge.testing.component import ComponentKit
from lossforge.testing.datasets import DatasetKit
from lossforge.testing.losses import LossKit
from lossforge.testing.models import ModelKit
from lossforge.testing.mutations import MutationKit
from lossforge.testing.objectives import ObjectiveKit
from lossforge.testing.parameterizations import ParameterizationKit
from lossforge.testing.samplers import SamplerKit
from lossforge.testing.strategies import StrategyKit

__all__ = [
    "ComponentKit",
    "DatasetKit",
    "LossKit",
    "ModelKit",
    "MutationKit",
    "ObjectiveKit",
    "ParameterizationKit",
    "SamplerKit",
    "StrategyKit",
]
