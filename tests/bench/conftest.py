"""The benchmarks are no part of the distribution, so nothing has put them on the path."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
