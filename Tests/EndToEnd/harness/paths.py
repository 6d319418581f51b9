"""Makes the modules in the folders beside this file importable.

The programs of the harness, the tests' conftest.py and the benchmarks import it before any of them.
"""

import pathlib
import sys

for _folder in ("clients", "servers"):
    _path = str(pathlib.Path(__file__).resolve().parent / _folder)
    if _path not in sys.path:
        sys.path.append(_path)
