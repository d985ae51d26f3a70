"""The loss that a search found: stored, loaded as a module, and exported as code of its own."""

from lossforge.artifact.learned import LearnedLoss
from lossforge.artifact.store import FORMAT_VERSION, Artifact, load_artifact, load_loss

__all__ = ["FORMAT_VERSION", "Artifact", "LearnedLoss", "load_artifact", "load_loss"]
