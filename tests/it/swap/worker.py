"""A worker whose builds behave as their file `build.json` says."""

import json
import sys
import threading
import time
import uuid

import wire

BUILD = json.load(open("build.json"))
if BUILD.get("crashes"):
    sys.exit("this build cannot start")

worker = wire.Worker()
lock = threading.Lock()


def run(call):
    function, data = call["function_id"], call.get("data")
    if isinstance(data, dict):
        time.sleep(data.get("ms", 0) / 1000)
    if function == "shop::heard":
        with open(BUILD["heard"], "a") as file:
            file.write("heard\n")
        outcome = {"result": None}
    elif function == "shop::health":
        outcome = {"result": not BUILD.get("unwell", False)}
    elif BUILD.get("fails"):
        outcome = {"error": {"code": "broken", "message": "this build answers nothing"}}
    else:
        outcome = {"result": BUILD["version"]}
    with lock:
        worker.answer(call, **outcome)


if not BUILD.get("silent"):
    worker.offer("shop::version", "shop::health", "shop::heard")
if "heard" in BUILD:
    subscribe = {"trigger_type": "subscribe", "function_id": "shop::heard", "config": {"topic": "news"}}
    worker.say({"type": "registertrigger", "id": str(uuid.uuid4()), **subscribe})
worker.introduce("shop")
for call in worker.calls():
    threading.Thread(target=run, args=(call,), daemon=True).start()
