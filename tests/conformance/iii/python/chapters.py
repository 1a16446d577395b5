"""What scenarios cannot say: channels, streamed answers, lost connections, telemetry. The names are
the same in every player."""

import asyncio
import json
import os
import socket
import threading
import time
from http.client import HTTPConnection
from urllib.parse import urlsplit

import sdk

CHAPTERS = {}


def chapter(name):
    def keep(play):
        CHAPTERS[name] = play
        return play

    return keep


def eventually(what, probe, seconds=10.0):
    end = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen")
        time.sleep(0.02)


class Pipe:
    """A pipe to the engine that can be cut."""

    def __init__(self, url):
        parts = urlsplit(url)
        self.far = (parts.hostname, parts.port)
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self.server.getsockname()[1]}"
        self.open = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.server.accept()
            except OSError:
                return
            far = socket.create_connection(self.far)
            self.open += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self.copy, args=(one, other), daemon=True).start()

    def copy(self, one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass
        for end in (one, other):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        ends, self.open = self.open, []
        for end in ends:
            # A reset, as when a machine disappears behind a firewall.
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()

    def close(self):
        self.server.close()


def fetch(http, path, method="GET", body=None, headers=None):
    connection = HTTPConnection(urlsplit(http).netloc, timeout=20)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def remote(worker, function_id, payload):
    return worker.trigger({"function_id": function_id, "payload": payload, "timeout_ms": 20_000})


@chapter("§1.9 a channel carries bytes and messages from one worker to another")
def carries(connect, settle, run, http, url):
    writer, reader = connect(), connect()
    sent = b"abcdefg" * 40_000

    async def reads(data):
        messages = []
        data["pipe"].on_message(messages.append)
        got = await data["pipe"].read_all()
        return {"label": data["label"], "size": len(got), "same": got == sent, "messages": messages}

    async def sends(data):
        channel = await sdk.create_channel_async(writer)
        await channel.writer.send_message_async("first")
        await channel.writer.write(sent[:100_000])
        await channel.writer.write(sent[100_000:])
        call = {
            "function_id": f"ch::reads-{run}",
            "payload": {"pipe": channel.reader_ref.model_dump(), "label": "x"},
        }
        answer = asyncio.create_task(writer.trigger_async(call))
        await channel.writer.close_async()
        return await answer

    reader.register_function(f"ch::reads-{run}", reads)
    writer.register_function(f"ch::sends-{run}", sends)
    settle(reader)
    settle(writer)
    expected = {"label": "x", "size": len(sent), "same": True, "messages": ["first"]}
    assert remote(writer, f"ch::sends-{run}", {}) == expected


@chapter("§1.9 items written before the reader connects wait")
def early(connect, settle, run, http, url):
    worker = connect()

    async def goes(data):
        channel = await sdk.create_channel_async(worker, 4)
        await channel.writer.write(b"early")
        await channel.writer.close_async()
        await asyncio.sleep(0.3)
        return (await channel.reader.read_all()).decode()

    worker.register_function(f"ch::early-{run}", goes)
    settle(worker)
    assert remote(worker, f"ch::early-{run}", {}) == "early"


@chapter("§1.9 a full channel holds its writer back and loses nothing")
def full(connect, settle, run, http, url):
    worker = connect()

    async def goes(data):
        channel = await sdk.create_channel_async(worker, 1)
        block = b"\7" * (1024 * 1024)

        async def writes():
            for _ in range(24):
                await channel.writer.write(block)
            await channel.writer.close_async()

        writing = asyncio.create_task(writes())
        await asyncio.sleep(0.5)
        size = 0
        async for chunk in channel.reader:
            size += len(chunk)
        await writing
        return size

    worker.register_function(f"ch::full-{run}", goes)
    settle(worker)
    assert remote(worker, f"ch::full-{run}", {}) == 24 * 1024 * 1024


@chapter("§1.9 a ref deep inside a payload becomes a live end")
def deep(connect, settle, run, http, url):
    worker = connect()

    async def writes(data):
        end = data["list"][0]["into"]
        await end.write(b"deep")
        await end.close_async()
        return "written"

    async def goes(data):
        channel = await sdk.create_channel_async(worker)
        payload = {"list": [{"into": channel.writer_ref.model_dump()}]}
        answer = await worker.trigger_async({"function_id": f"ch::deep-{run}", "payload": payload})
        return [answer, (await channel.reader.read_all()).decode()]

    worker.register_function(f"ch::deep-{run}", writes)
    worker.register_function(f"ch::goes-{run}", goes)
    settle(worker)
    assert remote(worker, f"ch::goes-{run}", {}) == ["written", "deep"]


@chapter("§4.1 an answer is streamed with status and headers")
def streamed(connect, settle, run, http, url):
    worker = connect()

    @sdk.http
    async def handler(request, response):
        await response.status(206)
        await response.headers({"content-type": "text/event-stream", "connection": "keep-alive"})
        for part in (b"id: 1\n\n", b"id: 2\n\n"):
            await response.writer.write(part)
            await asyncio.sleep(0.05)
        await response.writer.close_async()

    worker.register_function(f"web::stream-{run}", handler)
    worker.register_trigger(
        {"type": "http", "function_id": f"web::stream-{run}", "config": {"api_path": f"st-{run}", "http_method": "GET"}}
    )
    settle(worker)
    status, headers, body = fetch(http, f"/st-{run}")
    assert (status, headers.get("content-type"), body) == (206, "text/event-stream", b"id: 1\n\nid: 2\n\n")


@chapter("§4.1 a body that is no JSON is streamed to the function")
def upload(connect, settle, run, http, url):
    worker = connect()
    sent = b"0123456789" * 300_000

    @sdk.http
    async def handler(request, response):
        got = await request.request_body.read_all()
        await response.status(200)
        await response.headers({"content-type": "application/json"})
        await response.writer.write(json.dumps({"size": len(got), "same": got == sent}).encode())
        await response.writer.close_async()

    worker.register_function(f"web::upload-{run}", handler)
    worker.register_trigger(
        {"type": "http", "function_id": f"web::upload-{run}", "config": {"api_path": f"up-{run}", "http_method": "POST"}}
    )
    settle(worker)
    status, _, body = fetch(http, f"/up-{run}", "POST", sent, {"content-type": "application/octet-stream"})
    assert (status, json.loads(body)) == (200, {"size": len(sent), "same": True})


@chapter("§4.1 a JSON body is parsed and its raw bytes are in the channel")
def raw(connect, settle, run, http, url):
    worker = connect()
    sent = b'{"z":2, "a":1}'

    @sdk.http
    async def handler(request, response):
        got = await request.request_body.read_all()
        await response.status(200)
        await response.headers({"content-type": "application/json"})
        await response.writer.write(json.dumps({"body": request.body, "raw": got.decode()}).encode())
        await response.writer.close_async()

    worker.register_function(f"web::raw-{run}", handler)
    worker.register_trigger(
        {"type": "http", "function_id": f"web::raw-{run}", "config": {"api_path": f"raw-{run}", "http_method": "POST"}}
    )
    settle(worker)
    _, _, body = fetch(http, f"/raw-{run}", "POST", sent, {"content-type": "application/json"})
    assert json.loads(body) == {"body": {"z": 2, "a": 1}, "raw": sent.decode()}


@chapter("§3.7 a stream of the SDK takes the built-in's place")
def own_stream(connect, settle, run, http, url):
    from iii.stream import IStream

    items = {}

    class Own(IStream):
        async def get(self, input):
            return items.get((input.group_id, input.item_id))

        async def set(self, input):
            old = items.get((input.group_id, input.item_id))
            items[input.group_id, input.item_id] = input.data
            return sdk.StreamSetResult(old_value=old, new_value=input.data)

        async def delete(self, input):
            return sdk.StreamDeleteResult(old_value=items.pop((input.group_id, input.item_id), None))

        async def list(self, input):
            return [value for (group, _), value in items.items() if group == input.group_id]

        async def list_groups(self, input):
            return sorted({group for group, _ in items})

        async def update(self, input):
            return None

    worker = connect()
    sdk.create_stream(worker, f"own-{run}", Own())
    settle(worker)
    item = {"stream_name": f"own-{run}", "group_id": "g", "item_id": "i"}

    def call(verb, **more):
        return worker.trigger({"function_id": f"stream::{verb}", "payload": {**item, **more}})

    assert call("set", data={"n": 1}) == {"old_value": None, "new_value": {"n": 1}}
    assert items == {("g", "i"): {"n": 1}}
    assert call("get") == {"n": 1}
    assert call("list") == [{"n": 1}]
    assert call("list_groups") == ["g"]
    assert call("delete") == {"old_value": {"n": 1}}
    assert call("get") is None


@chapter("§1.5 a worker that lost its connection is there again")
def returns(connect, settle, run, http, url):
    way = Pipe(url)
    worker, caller = connect(way.url), connect()
    events = []
    worker.register_function(f"re::f-{run}", lambda data: "here")
    worker.register_function(f"re::e-{run}", lambda data: events.append(data))
    worker.register_trigger({"type": "state", "function_id": f"re::e-{run}", "config": {"scope": f"re-{run}"}})
    settle(worker)
    assert remote(caller, f"re::f-{run}", {}) == "here"
    way.cut()

    def here():
        try:
            return caller.trigger({"function_id": f"re::f-{run}", "payload": {}, "timeout_ms": 2000}) == "here"
        except Exception:
            return False

    eventually("the worker's return", here, 20)
    settle(worker)
    caller.trigger({"function_id": "state::set", "payload": {"scope": f"re-{run}", "key": "k", "value": 1}})
    eventually("the event", lambda: events)
    time.sleep(0.2)
    assert len(events) == 1, "the replayed trigger is the same trigger"
    way.close()


@chapter("§7.2 a caller whose target's connection is cut is told at once")
def stopped(connect, settle, run, http, url):
    way = Pipe(url)
    worker, caller = connect(way.url), connect()
    began = threading.Event()

    async def hangs(data):
        began.set()
        await asyncio.sleep(15)

    worker.register_function(f"cut::f-{run}", hangs)
    settle(worker)
    outcome = []

    def call():
        try:
            outcome.append(caller.trigger({"function_id": f"cut::f-{run}", "payload": {}, "timeout_ms": 20_000}))
        except Exception as error:
            outcome.append(error)

    threading.Thread(target=call, daemon=True).start()
    assert began.wait(10)
    way.cut()
    eventually("the error", lambda: outcome, 5)
    assert getattr(outcome[0], "code", None) == "invocation_stopped", outcome
    way.close()


@chapter("§1.8 logs of the SDK reach log triggers and the list")
def logs(connect, settle, run, http, url):
    if os.environ.get("OTEL_ENABLED") == "false":
        return "skipped"
    worker = connect(otel={"enabled": True, "service_name": f"logs-{run}", "logs_flush_interval_ms": 100})
    settle(worker)
    sdk.Logger(service_name=f"logs-{run}").error(f"telemetry {run}", {"order": "o-1"})

    def found():
        answer = worker.trigger({"function_id": "engine::logs::list", "payload": {"limit": 1000}})
        return any(log["body"] == f"telemetry {run}" and log["severity_text"] == "ERROR" for log in answer["logs"])

    eventually("the record", found, 15)
    return None
