"""An unmodified iii worker whose builds answer what their file `build.json` says."""

import json
import os
import threading
import time

from iii import register_worker

with open("build.json") as file:
    build = json.load(file)


def version(data):
    time.sleep(data.get("ms", 0) / 1000)
    return build["version"]


iii = register_worker(os.environ["AGENTOS_URL"])
iii.register_function("shop::health", lambda _: not build.get("unwell", False))
iii.register_function("shop::version", version)
threading.Event().wait()
