"""Fused evaluation on the CPU by C++ compiled for one family of losses: the sources, the compiler, the binding."""

from lossforge.native import compiler
from lossforge.native.compiler import CompilationError, cache_folder, compiled_library
from lossforge.native.perceptron import PerceptronKernel

__all__ = ["CompilationError", "PerceptronKernel", "cache_folder", "compiled_library", "compiler"]
