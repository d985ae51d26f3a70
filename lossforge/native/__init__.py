"""Fused evaluation of one family of losses: by C++ compiled for it and this CPU, and by Triton on CUDA.

The Triton kernels are in :mod:`lossforge.native.perceptron_triton`; nothing here imports Triton.
"""

from lossforge.native import compiler
from lossforge.native.compiler import CompilationError, cache_folder, compiled_library
from lossforge.native.perceptron import PerceptronKernel

__all__ = ["CompilationError", "PerceptronKernel", "cache_folder", "compiled_library", "compiler"]
