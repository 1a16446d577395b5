"""An unmodified iii worker whose builds answer what their file `build.json` says."""

import json
import os
import threading
import time

from iii import register_worker

with open("build.json") as file:
    build = json.load(file)
record = os.open(build["record"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def write(data):
    os.write(record, f"{data['n']}\n".encode())
    time.sleep(data["ms"] / 1000)
    return data["n"]


iii = register_worker(os.environ["AGENTOS_URL"])
iii.register_function("shop::health", lambda _: not build.get("unwell", False))
iii.register_function("shop::version", lambda _: build["version"])
iii.register_function("shop::record", write)
threading.Event().wait()
