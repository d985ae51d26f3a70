"""One thread for every test, and for the processes that tests start.

Tensors are tiny here, so more threads only wait for each other, and far longer when other work shares the machine.
"""

import os

import torch

os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)
