"""Annotations of fields that hold a component: of specs, and of components that contain others.

For a type checker such a field has the type of the base class; at run time it takes an instance, a mapping whose
``type`` is looked up in the registry, or that type alone. Imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from lossforge.plugin_field import Plugin

if TYPE_CHECKING:
    from lossforge import interfaces

    AnyParameterization = interfaces.LossParameterization
    AnySampler = interfaces.SyntheticSampler
    AnyObjective = interfaces.Objective
    AnyMutation = interfaces.MutationOperator
    AnyStrategy = interfaces.Strategy
    AnyLoss = interfaces.Loss
    AnyDataset = interfaces.Dataset
    AnyModel = interfaces.Model
    AnyTracker = interfaces.Tracker
else:
    AnyParameterization = Annotated[Any, Plugin("parameterizations")]
    AnySampler = Annotated[Any, Plugin("samplers")]
    AnyObjective = Annotated[Any, Plugin("objectives")]
    AnyMutation = Annotated[Any, Plugin("mutations")]
    AnyStrategy = Annotated[Any, Plugin("strategies")]
    AnyLoss = Annotated[Any, Plugin("losses")]
    AnyDataset = Annotated[Any, Plugin("datasets")]
    AnyModel = Annotated[Any, Plugin("models")]
    AnyTracker = Annotated[Any, Plugin("trackers")]
