"""IDX files, the format of MNIST and its successors.

LeCun, Cortes and Burges, "The MNIST Database of Handwritten Digits", 1998, gives the format: two zero bytes, the type
of the elements (8: unsigned byte), the number of dimensions, each dimension as a 32-bit integer, high byte first, and
the elements with the last dimension fastest.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lossforge.errors import DataError


def read_idx(path: Path, num_dimensions: int) -> NDArray[np.uint8]:
    """Return the bytes of a file, gzipped if its name ends in .gz.

    Raises:
        DataError: the file is damaged, or holds something else.
    """
    try:
        content = bytearray(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    except (OSError, EOFError, zlib.error) as cause:
        raise DataError(f"{path}: cannot be read ({cause}); replace it") from cause
    header = 4 + 4 * num_dimensions
    if len(content) < header or content[:4] != bytes([0, 0, 8, num_dimensions]):
        raise DataError(f"{path}: not an IDX file of bytes in {num_dimensions} dimensions; replace it")
    shape = struct.unpack(f">{num_dimensions}I", content[4:header])
    if len(content) - header != math.prod(shape):
        raise DataError(f"{path}: {len(content) - header} bytes, but its header says {math.prod(shape)}; replace it")
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)
