"""Plays the scenarios with the installed generation of the PyPI package: ``python play.py scenarios.json``."""

import asyncio
import json
import os
import re
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from urllib.parse import urlsplit

import sdk
from chapters import CHAPTERS
from expect import Mismatch, expect, same_members

URL, RBAC_URL, HTTP_URL = (os.environ[name] for name in ("III_URL", "III_RBAC_URL", "III_HTTP_URL"))
#: How long anything may take that should take a moment.
PATIENCE = 10.0
#: How long to listen for what should not come, after everything sent before has been answered.
SETTLE = 0.15
WORKER_NAME = f"python-{sdk.GENERATION}-{os.getpid()}"
POOL = ThreadPoolExecutor(64)


def connect(url=URL, **options):
    settings = {
        "worker_name": WORKER_NAME,
        "otel": {"enabled": False},
        "enable_metrics_reporting": False,
        "reconnection_config": sdk.ReconnectionConfig(initial_delay_ms=100),
    }
    return sdk.register_worker(url, sdk.InitOptions(**{**settings, **options}))


def settle(peer):
    """Everything that was said before on this connection has been handled."""
    try:
        peer.trigger({"function_id": "engine::baggage::get_all", "payload": {}})
    except Exception:
        pass


def dig(value, path):
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def spelled(value):
    return value if isinstance(value, str) else json.dumps(value)


async def act(does, scene, key, data, metadata):
    """What a function does with a payload."""
    if does in (None, "echo"):
        return data
    if does == "nothing":
        return None
    if does == "metadata":
        return metadata
    [(word, operand), *_] = does.items()
    match word:
        case "returns":
            return operand
        case "fails":
            raise RuntimeError(operand)
        case "fails_first":
            if scene.counts[key] <= operand:
                raise RuntimeError(f"failure {scene.counts[key]}")
            return None
        case "waits_ms":
            await asyncio.sleep(operand / 1000)
            return "waited"
        case "looks_at":
            found = dig(data, operand)
            return await act(does["cases"].get(spelled(found), does.get("otherwise")), scene, key, data, metadata)
        case "forwards":
            more = {
                name: dig(data, value["$from"]) if isinstance(value, dict) and "$from" in value else value
                for name, value in operand.items()
            }
            payload = {**data["payload"], **more} if isinstance(data["payload"], dict) else data["payload"]
            call = {"function_id": data["function_id"], "payload": payload}
            return await asyncio.to_thread(scene.peer("main").trigger, call)
    raise ValueError(f"no such deed: {word}")


class Scene:
    def __init__(self, run, main):
        self.saved = {"run": run, "http": HTTP_URL, "worker_name": WORKER_NAME, "runtime": "python"}
        self.peers = {"main": main}
        self.functions = {}
        self.triggers = {}
        self.heard = {}
        self.counts = {}
        self.providers = {}
        self.started = {}
        self.lock = threading.Lock()

    def peer(self, name=None):
        return self.peers[name or "main"]

    def fill(self, value):
        """``$name`` in texts, ``$repeat`` anywhere."""
        if isinstance(value, str):
            return re.sub(r"\$([a-z_]+)", lambda found: self.saved.get(found[1], found[0]), value)
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if not isinstance(value, dict) or "$saves" in value:
            return value
        if "$repeat" in value:
            size, unit = value["$repeat"]
            return (unit * (size // len(unit) + 1))[:size]
        return {self.fill(key): self.fill(item) for key, item in value.items()}

    def step(self, raw):
        step = self.fill(raw)
        for kind, run in STEPS.items():
            if kind in step:
                return run(self, step)
        raise ValueError(f"no such step: {raw}")

    def end(self):
        for trigger in self.triggers.values():
            trigger.unregister()
        for by, ref in self.functions.values():
            if by == "main":
                ref.unregister()
        for name, peer in self.peers.items():
            if name != "main":
                peer.shutdown()


def until(step, attempt):
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return attempt()
        except Exception:
            if not step.get("until") or time.monotonic() > end:
                raise
            time.sleep(0.05)


def ask(scene, step):
    request = {
        "function_id": step["call"],
        "payload": step["payload"],
        "timeout_ms": step.get("timeout_ms", int(PATIENCE * 1000)),
    }
    action = step.get("action")
    if action:
        request["action"] = (
            sdk.TriggerAction.Void() if action["type"] == "void" else sdk.TriggerAction.Enqueue(queue=action["queue"])
        )
    for key in ("metadata", "namespace"):
        if key in step:
            request[key] = step[key]
    return scene.peer(step.get("by")).trigger(request)


def judge(scene, step, answer):
    what = step.get("call") or step.get("ends")
    try:
        value = answer()
    except Exception as error:
        code, says = getattr(error, "code", type(error).__name__), str(error)
        if "fails" not in step:
            raise Mismatch(f"{what} failed: {code} {says}") from None
        wanted = step["fails"]
        if wanted.get("code", code) != code:
            raise Mismatch(f"the error is {code} ({says}), expected {wanted['code']}") from None
        if wanted.get("says", "") not in says:
            raise Mismatch(f"the error says {says}, expected {wanted['says']}") from None
        return
    if "fails" in step:
        raise Mismatch(f"the answer is {value!r}, expected the error {step['fails']}")
    if step.get("absent") and value is not None:
        raise Mismatch(f"{what} answered {value!r}, expected an absent result")
    if "answers" in step:
        expect(value, step["answers"], False, scene.saved)
    if "like" in step:
        expect(value, step["like"], True, scene.saved)


def do_bind(scene, step):
    trigger = {"type": step["type"], "function_id": step["function"], "config": step["config"]}
    if "metadata" in step:
        trigger["metadata"] = step["metadata"]
    peer = scene.peer(step.get("by"))
    scene.triggers[step["bind"]] = peer.register_trigger(trigger)
    settle(peer)


def do_unbind(scene, step):
    scene.triggers.pop(step["unbind"]).unregister()
    settle(scene.peer())


def do_connect(scene, step):
    name = step["connect"]
    options = {"worker_name": f"{WORKER_NAME}-{name}-{scene.saved['run']}"}
    options |= {key: step[key] for key in ("headers", "namespace") if key in step}
    scene.peers[name] = connect(RBAC_URL if step.get("to") == "rbac" else URL, **options)
    settle(scene.peers[name])


def do_disconnect(scene, step):
    scene.peers.pop(step["disconnect"]).shutdown()
    time.sleep(SETTLE)


def do_function(scene, step):
    by = step.get("by", "main")
    key = (by, step["function"])
    scene.heard[key], scene.counts[key] = [], 0
    does = step.get("does")

    async def run(data, metadata=None):
        with scene.lock:
            scene.counts[key] += 1
            scene.heard[key].append((data, metadata))
        return await act(does, scene, key, data, metadata)

    named = ("description", "request_format", "response_format", "metadata")
    options = {name: step[name] for name in named if name in step}
    if "over_http" in step:
        handler = sdk.HttpInvocationConfig(**step["over_http"])
    else:
        handler = run
    peer = scene.peer(by)
    scene.functions[key] = (by, peer.register_function(step["function"], handler, **options))
    settle(peer)


def do_forget(scene, step):
    by = step.get("by", "main")
    scene.functions.pop((by, step["forget"]))[1].unregister()
    settle(scene.peer(by))


def do_call(scene, step):
    if "starts" in step:
        scene.started[step["starts"]] = POOL.submit(ask, scene, step)
    elif "many" in step:
        for call in [POOL.submit(ask, scene, step) for _ in range(step["many"])]:
            judge(scene, step, call.result)
    else:
        until(step, lambda: judge(scene, step, lambda: ask(scene, step)))


def do_ends(scene, step):
    judge(scene, step, lambda: scene.started[step["ends"]].result(PATIENCE))


def do_hears(scene, step):
    key = (step.get("by", "main"), step["hears"])
    expected = step.get("calls", step.get("like"))
    wanted = expected["$times"][0] if isinstance(expected, dict) else len(expected)
    loose = "calls" not in step

    def look():
        found = [data for data, _ in list(scene.heard[key])]
        if step.get("at_least"):
            for one in expected:
                expect(found, {"$has": one}, True, scene.saved, step["hears"])
        elif step.get("any_order"):
            same_members(found, expected, loose, scene.saved, step["hears"])
        else:
            expect(found, expected, loose, scene.saved, step["hears"])

    end = time.monotonic() + PATIENCE
    while len(scene.heard[key]) < wanted and time.monotonic() < end:
        time.sleep(0.01)
    if step.get("at_least"):
        until({"until": True}, look)
    else:
        settle(scene.peer(step.get("by")))
        time.sleep(SETTLE)
        look()
    if "metadata" in step:
        expect(scene.heard[key][0][1], step["metadata"], False, scene.saved, "metadata")
    scene.heard[key] = []


def fetch(step):
    method, path = step["http"].split(" ")
    headers = dict(step.get("headers", {}))
    body = step.get("text")
    if "json" in step:
        body = json.dumps(step["json"])
        headers.setdefault("content-type", "application/json")
    connection = HTTPConnection(urlsplit(HTTP_URL).netloc, timeout=20)
    try:
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, found, answer.read().decode()
    finally:
        connection.close()


def do_http(scene, step):
    def attempt():
        status, headers, text = fetch(step)
        fine = step["status"] if isinstance(step["status"], list) else [step["status"]]
        if status not in fine:
            raise Mismatch(f"{step['http']} is {status} {text[:300]}, expected {fine}")
        if "like_headers" in step:
            expect(headers, step["like_headers"], True, scene.saved, "headers")
        if "says" in step:
            expect(text, step["says"], True, scene.saved, "body")
        if "answers" in step:
            expect(json.loads(text), step["answers"], False, scene.saved, "body")
        if "like" in step:
            expect(json.loads(text), step["like"], True, scene.saved, "body")

    until(step, attempt)


class Provider(sdk.TriggerHandler):
    def __init__(self):
        self.bound, self.gone = [], []

    async def register_trigger(self, config):
        self.bound.append({"id": config.id, "function_id": config.function_id, "config": config.config})

    async def unregister_trigger(self, config):
        self.gone.append(config.id)


def do_offers(scene, step):
    provider = scene.providers[step["offers"], step["by"]] = Provider()
    peer = scene.peer(step["by"])
    peer.register_trigger_type({"id": step["offers"], "description": "a type of the suite"}, provider)
    settle(peer)


def wait_for(items, count):
    end = time.monotonic() + PATIENCE
    while len(items) < count and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(SETTLE)


def do_offered(scene, step):
    provider = scene.providers[step["offered"], step["by"]]
    wait_for(provider.bound, len(step["like"]))
    expect(provider.bound, step["like"], True, scene.saved, step["offered"])
    provider.bound = []


def do_withdrawn(scene, step):
    if not sdk.ABILITIES.issuperset(step.get("needs", [])):
        return
    provider = scene.providers[step["withdrawn"], step["by"]]
    wait_for(provider.gone, step["count"])
    if len(provider.gone) != step["count"]:
        raise Mismatch(f"{len(provider.gone)} triggers were withdrawn, expected {step['count']}")


#: The first kind that a step has a key of is its kind.
STEPS = {
    "bind": do_bind,
    "unbind": do_unbind,
    "connect": do_connect,
    "disconnect": do_disconnect,
    "function": do_function,
    "forget": do_forget,
    "call": do_call,
    "ends": do_ends,
    "hears": do_hears,
    "http": do_http,
    "offers": do_offers,
    "offered": do_offered,
    "withdrawn": do_withdrawn,
    "settle_ms": lambda _, step: time.sleep(step["settle_ms"] / 1000),
}


class Telling:
    def __init__(self):
        self.passed = self.failed = 0

    def tell(self, name, error=None):
        if error is None:
            self.passed += 1
            print(f"ok {name}", flush=True)
            return
        self.failed += 1
        if not isinstance(error, Mismatch):
            traceback.print_exception(error)
        why = str(error) or traceback.format_exception(error)[-2].strip()
        print(f"not ok {name}: " + " | ".join(why.split("\n")), flush=True)


def main():
    telling = Telling()
    only = os.environ.get("ONLY", "")
    main_peer = connect()
    settle(main_peer)
    with open(sys.argv[1], encoding="utf-8") as file:
        scenarios = json.load(file)
    scenarios = [one for one in scenarios if sdk.ABILITIES.issuperset(one.get("needs", [])) and only in one["name"]]
    for at, scenario in enumerate(scenarios):
        scene = Scene(f"p{sdk.GENERATION}x{os.getpid()}x{at}", main_peer)
        name, broken = scenario["name"], None
        for step in scenario["steps"]:
            if "check" in step:
                telling.tell(name, broken)
                name, broken = step["check"], broken and Mismatch("not reached")
            elif broken is None:
                try:
                    scene.step(step)
                except Exception as error:
                    broken = error
        telling.tell(name, broken)
        try:
            scene.end()
        except Exception:
            traceback.print_exc()
    for name, play in CHAPTERS.items():
        if only not in name:
            continue
        peers = []

        def opened(url=URL, **options):
            peers.append(connect(url, **{"worker_name": f"{WORKER_NAME}-{len(peers)}-{len(name)}", **options}))
            return peers[-1]

        try:
            if play(opened, settle, f"p{sdk.GENERATION}x{os.getpid()}", HTTP_URL, URL) != "skipped":
                telling.tell(name)
        except Exception as error:
            telling.tell(name, error)
        for peer in peers:
            peer.shutdown()
    main_peer.shutdown()
    print(f"conformance: {telling.passed} passed, {telling.failed} failed", flush=True)
    # The SDK's threads need not end.
    os._exit(1 if telling.failed else 0)


main()
