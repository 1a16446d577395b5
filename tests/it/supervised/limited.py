"""A worker that says when it was started, whether it is well, and how much it can take."""

import os
import subprocess
import sys

import wire

name = sys.argv[1]
open("started", "w").close()
worker = wire.Worker()
worker.offer(f"{name}::health", f"{name}::take")
worker.introduce(name)


def take(mb):
    try:
        return len(bytearray(mb << 20)) > 0
    except MemoryError:
        return False


for call in worker.calls():
    if call["function_id"].endswith("health"):
        result = os.path.exists("well")
    else:
        child = subprocess.run(["nice"], capture_output=True, text=True)
        result = {"taken": take(call["data"]["mb"]), "nice": os.nice(0), "child_nice": int(child.stdout)}
    worker.answer(call, result=result)
