"""Datasets of labelled images, built in."""

from lossforge.training.datasets.cifar10 import CIFAR10
from lossforge.training.datasets.cifar100 import CIFAR100
from lossforge.training.datasets.digits import Digits
from lossforge.training.datasets.fake import FakeImages
from lossforge.training.datasets.fashion_mnist import FashionMNIST
from lossforge.training.datasets.image_folder import ImageFolder
from lossforge.training.datasets.svhn import SVHN
from lossforge.training.datasets.tensor_file import TensorFile, write_tensor_file

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "SVHN",
    "Digits",
    "FakeImages",
    "FashionMNIST",
    "ImageFolder",
    "TensorFile",
    "write_tensor_file",
]
