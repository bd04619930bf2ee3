"""Tests and notebooks keep their results away from the source tree, wherever they are started."""

import atexit
import os
import shutil
import tempfile

if "LOSSBENCH_OUTPUT" not in os.environ:
    results = tempfile.mkdtemp(prefix="lossbench-")
    atexit.register(shutil.rmtree, results, ignore_errors=True)
    os.environ["LOSSBENCH_OUTPUT"] = results  # notebooks run in processes of their own, which inherit it
