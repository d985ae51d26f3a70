"""Datasets of labelled images, built in."""

from lossforge.training.datasets.cifar10 import CIFAR10
from lossforge.training.datasets.digits import Digits
from lossforge.training.datasets.fake import FakeImages
from lossforge.training.datasets.image_folder import ImageFolder

__all__ = ["CIFAR10", "Digits", "FakeImages", "ImageFolder"]
