"""An engine of our own for each test run: `AGENTOS_BIN`, or the binary that cargo builds."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("AGENTOS_BIN", ROOT / "target/release/agentos"))
START_SECONDS = 20.0


@dataclass
class Engine:
    url: str
    http: str
    token: str
    data_dir: Path
    process: subprocess.Popen[bytes]


def start(data_dir: Path, bus_port: int = 0) -> Engine:
    if not BINARY.exists():
        pytest.fail(f"{BINARY} is missing; build it with `cargo build --release`")
    note = data_dir / "engine.json"
    note.unlink(missing_ok=True)
    command = [BINARY, "start", "--data-dir", data_dir, "--no-workers", "--bus-port", str(bus_port), "--http-port", "0"]
    log = (data_dir / "output.log").open("ab")
    process = subprocess.Popen(command, cwd=data_dir, stdout=log, stderr=log)
    deadline = time.monotonic() + START_SECONDS
    while not note.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"the engine did not start: {(data_dir / 'output.log').read_text()}")
        time.sleep(0.01)
    about = json.loads(note.read_text())
    return Engine(about["url"], about["http"], Path(about["token_file"]).read_text().strip(), data_dir, process)


def stop(engine: Engine) -> None:
    engine.process.terminate()
    try:
        engine.process.wait(15)
    except subprocess.TimeoutExpired:
        engine.process.kill()
        engine.process.wait()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of its own, so that no engine of this account is found, or disturbed."""
    path = tmp_path_factory.mktemp("home")
    patch = pytest.MonkeyPatch()
    patch.setenv("AGENTOS_HOME", str(path))
    for name in ("AGENTOS_TOKEN", "AGENTOS_TOKEN_FILE", "AGENTOS_URL"):
        patch.delenv(name, raising=False)
    yield path
    patch.undo()


@pytest.fixture(scope="session")
def shared_engine(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = start(tmp_path_factory.mktemp("engine"))
    yield engine
    stop(engine)


@pytest.fixture
def engine(shared_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The engine that workers of this test find by themselves."""
    monkeypatch.setenv("AGENTOS_URL", shared_engine.url)
    return shared_engine
