"""The JSON dialect with nothing but the standard library."""

import base64
import json
import os
import socket
import struct
from urllib.parse import urlparse


def connect():
    address = urlparse(os.environ["AGENTOS_URL"])
    connection = socket.create_connection((address.hostname, address.port))
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall(
        f"GET /?token={os.environ['AGENTOS_TOKEN']} HTTP/1.1\r\nHost: {address.netloc}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    stream = connection.makefile("rb")
    while stream.readline() not in (b"\r\n", b""):
        pass
    return connection, stream


def frame(opcode, payload):
    mask = os.urandom(4)
    length = len(payload)
    head = bytes([0x80 | opcode]) + (bytes([0x80 | length]) if length < 126 else bytes([0x80 | 126]) + struct.pack(">H", length))
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


def read(stream):
    first, second = stream.read(2)
    length = second & 0x7F
    if length == 126:
        (length,) = struct.unpack(">H", stream.read(2))
    elif length == 127:
        (length,) = struct.unpack(">Q", stream.read(8))
    return first & 0x0F, stream.read(length)


class Worker:
    """A connection with an engine, over which functions are offered."""

    def __init__(self):
        self.connection, self.stream = connect()

    def say(self, message):
        self.connection.sendall(frame(1, json.dumps(message).encode()))

    def offer(self, *functions):
        for function in functions:
            metadata = json.loads(os.environ.get("WORKER_METADATA", "null"))
            self.say({"type": "registerfunction", "id": function, "metadata": metadata})

    def introduce(self, name):
        about = {"runtime": "python", "version": "0", "name": name, "pid": os.getpid()}
        self.say({"type": "invokefunction", "function_id": "engine::workers::register", "data": about, "action": {"type": "void"}})

    def answer(self, call, **outcome):
        self.say({"type": "invocationresult", "invocation_id": call["invocation_id"], "function_id": call["function_id"], **outcome})

    def calls(self):
        """Every call, until the engine closes."""
        while True:
            opcode, payload = read(self.stream)
            if opcode == 9:
                self.connection.sendall(frame(10, payload))
            if opcode == 8:
                return
            message = json.loads(payload) if opcode == 1 else {}
            if message.get("type") == "invokefunction":
                yield message
