"""``code_blocks.py`` and ``page_session.py`` are found by the tests of this folder."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
