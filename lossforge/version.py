"""The version of lossforge."""

__version__ = "0.1.0"
