"""What the type checkers say of right and wrong use, and of the examples; mypy's part is its own run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_pyright_accepts_right_use_and_the_examples() -> None:
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable]
    run = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
