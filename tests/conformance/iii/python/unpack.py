"""Fetches the sources of the published packages, for the tests inside: ``python unpack.py FOLDER``."""

import hashlib
import subprocess
import sys
import tarfile
from pathlib import Path

SOURCES = {
    "0.11.6": "aeb986bac6014e3e59440337396370989849097bf39a8ce629a5bea85c671d53",
    "0.25.0": "a69857b1e730dddd0ab9f288c7f6e63f255e66eb722a87de9d8692c56e6b8653",
}


def main():
    folder = Path(sys.argv[1])
    for version, expected in SOURCES.items():
        if (folder / f"iii_sdk-{version}/tests").is_dir():
            continue
        name = f"iii_sdk-{version}.tar.gz"
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        options = ["--no-deps", "--no-binary", ":all:", "--dest", str(folder), f"iii-sdk=={version}"]
        subprocess.run([*pip, *options], check=True)
        found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        if found != expected:
            sys.exit(f"{name} is {found}, expected {expected}")
        with tarfile.open(folder / name) as archive:
            archive.extractall(folder, filter="data")


main()
