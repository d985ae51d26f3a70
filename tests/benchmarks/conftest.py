"""The modules beside the benchmarks can be imported by them, and by the scripts in ``peers``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
