"""An unmodified iii worker: offers a function, calls one of ours, waits to be called."""

import os
import threading
import time

from iii import register_worker

iii = register_worker(os.environ["AGENTOS_URL"])
called = threading.Event()


def triple(data):
    called.set()
    return {"tripled": data["n"] * 3}


iii.register_function("python::triple", triple)
answer = iii.trigger({"function_id": "ours::double", "payload": {"n": 21}})
print(f"doubled: {answer['doubled']}", flush=True)
called.wait(30)
# The answer leaves on another thread.
time.sleep(0.2)
os._exit(0)
