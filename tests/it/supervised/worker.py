"""A worker that can be killed, hangs, and starts a process."""

import os
import subprocess

import wire

worker = wire.Worker()
worker.offer("mortal::pid", "mortal::hang", "mortal::spawn")
worker.introduce("mortal")
print("mortal is up", flush=True)

for call in worker.calls():
    function = call["function_id"]
    if function == "mortal::hang":
        continue
    result = os.getpid() if function == "mortal::pid" else subprocess.Popen(["sleep", "300"], start_new_session=True).pid
    worker.answer(call, result=result)
