"""Plays the scenarios with the Python SDK, or serves the functions that they call; see README."""

import asyncio
import json
import os
import sys
import traceback

from agentos import AgentOSError, Worker
from cast import cast
from expect import Mismatch, expect, fill

LANGUAGE = "python"
LANGUAGES = ["rust", "typescript", "python"]
#: How long something may take to become true.
PATIENCE = 20.0


class Scene:
    def __init__(self, worker, saved):
        self.worker, self.saved = worker, saved
        self.started, self.streams = {}, {}

    async def step(self, raw):
        step = fill(raw, self.saved)
        for kind, run in STEPS.items():
            if kind in step:
                return await run(self, step)
        raise ValueError(f"no such step: {raw}")

    async def end(self):
        for task in self.started.values():
            task.cancel()
        for stream in self.streams.values():
            stream.cancel()


async def until(step, attempt):
    end = asyncio.get_running_loop().time() + PATIENCE
    while True:
        try:
            return await attempt()
        except Mismatch:
            if not step.get("until") or asyncio.get_running_loop().time() > end:
                raise
            await asyncio.sleep(0.02)


def ask(scene, step):
    options = {key: step[key] for key in ("metadata", "retries") if key in step}
    if "timeout_ms" in step:
        options["timeout"] = step["timeout_ms"] / 1000
    return scene.worker.trigger(step["call"], step["payload"], **options)


async def judge(step, answer):
    try:
        value = await answer
    except AgentOSError as error:
        if "fails" not in step:
            raise Mismatch(f"it failed: {error!r}") from None
        return judge_error(step["fails"], error)
    if "fails" in step:
        raise Mismatch(f"the answer is {value!r:.300}, expected the error {step['fails']}")
    if "answers" in step:
        expect(value, step["answers"], False)
    if "like" in step:
        expect(value, step["like"], True)


def judge_error(wanted, error):
    said = {key: getattr(error, key) for key in ("code", "origin", "retryable", "reason", "details")}
    for key in said.keys() & wanted.keys():
        expect(said[key], wanted[key], True, key)
    if wanted.get("says", "") not in error.message:
        raise Mismatch(f"the error says {error.message}, expected {wanted['says']}")
    if "field" in wanted:
        expect((error.details or {}).get("field"), wanted["field"], False, "field")


async def do_call(scene, step):
    if "starts" in step:
        scene.started[step["starts"]] = asyncio.create_task(ask(scene, step))
    elif "many" in step:
        numbers = range(step["many"])
        answers = await asyncio.gather(*(scene.worker.trigger(step["call"], number) for number in numbers))
        expect(answers == list(numbers), True, False, "each has its own answer")
    else:
        await until(step, lambda: judge(step, ask(scene, step)))


async def do_ends(scene, step):
    async with asyncio.timeout(PATIENCE):
        await judge(step, scene.started[step["ends"]])


async def do_cancels(scene, step):
    scene.started[step["cancels"]].cancel()


async def do_void(scene, step):
    await scene.worker.trigger_void(step["void"], step["payload"])


async def do_opens(scene, step):
    scene.streams[step["opens"]] = scene.worker.stream(step["stream"], step["payload"])


async def do_reads(scene, step):
    stream = scene.streams[step["reads"]]
    if "counts" in step:
        wanted = list(range(*step["counts"]))
    else:
        count, size = step["pieces"]
        wanted = [number.to_bytes(1) * size for number in range(count)]
    for number in wanted:
        expect(await anext(stream), number, False, "chunk")


async def do_finishes(scene, step):
    stream = scene.streams.pop(step["finishes"])
    async with asyncio.timeout(PATIENCE):
        await judge(step, stream.result())


async def do_leaves(scene, step):
    await scene.streams.pop(step["leaves"]).aclose()


#: The first kind that a step has a key of is its kind.
STEPS = {
    "call": do_call,
    "ends": do_ends,
    "cancels": do_cancels,
    "void": do_void,
    "opens": do_opens,
    "reads": do_reads,
    "finishes": do_finishes,
    "leaves": do_leaves,
}


async def play(worker, scenario, saved):
    scene = Scene(worker, saved)
    try:
        async with asyncio.timeout(90):
            for step in scenario["steps"]:
                await scene.step(step)
    finally:
        await scene.end()


async def play_all(file):
    with open(file, encoding="utf-8") as text:
        scenarios = json.load(text)
    passed = failed = 0
    only = os.environ.get("ONLY", "")
    async with Worker(f"caller-{LANGUAGE}") as worker:
        for at, scenario in enumerate(scenarios):
            for turn, callee in enumerate(LANGUAGES):
                name = f"{scenario['name']} [{callee}]"
                others = LANGUAGES[turn + 1 :] + LANGUAGES[:turn]
                saved = {"callee": callee, "second": others[0], "third": others[1], "run": f"{LANGUAGE}-{at}-{turn}"}
                if only not in name or not can(scenario, LANGUAGE, callee):
                    continue
                try:
                    await play(worker, scenario, saved)
                    passed += 1
                    print(f"ok {name}", flush=True)
                except Exception as error:
                    failed += 1
                    if not isinstance(error, Mismatch):
                        traceback.print_exc()
                    print(f"not ok {name}: " + " | ".join((str(error) or repr(error)).split("\n")), flush=True)
    print(f"conformance: {passed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


#: What a language cannot, and why, stands in README.
CANNOT = {"typescript": {"exact_integers"}, "rust": {"stacks"}, "python": set()}


def can(scenario, *languages):
    return not any(CANNOT[language].intersection(scenario.get("needs", [])) for language in languages)


def main():
    if sys.argv[1] == "play":
        sys.exit(asyncio.run(play_all(sys.argv[2])))
    worker = Worker(LANGUAGE)
    cast(worker, LANGUAGE)
    worker.run()


main()
