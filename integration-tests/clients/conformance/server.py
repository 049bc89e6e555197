#!/usr/bin/env python3
"""A server that does what a transcript says, to see what a client makes of it.

    server.py TRANSCRIPT

Prints `{"port": …}`, then serves the `server` steps of the transcript, one for each request in the
order they come, until its standard input ends. A line there says that the client has told all that
comes before the next break. Then it prints `{"problems": […]}`: requests that were
not to come, or not so, and steps that nobody asked for. README.md beside it has the format.

It speaks HTTP/2 by itself (h2), because it has to break what a gRPC library would never break: a
connection in the middle of a call. Needs h2 and protobuf; the messages are those of client/python.
"""

import asyncio
import base64
import json
import sys
from pathlib import Path

import h2.config
import h2.connection
import h2.errors
import h2.events
from google.protobuf import any_pb2, json_format, message_factory
from google.rpc import code_pb2, error_details_pb2, status_pb2

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "client/python/src"))

from banger_client._gen import host_pb2, image_pb2, vm_pb2  # noqa: E402

# Seconds that the client may take for what a step waits for.
PATIENCE = 10

SERVICES = {
    service.full_name: service
    for file in (vm_pb2, host_pb2, image_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
}


def matches(wanted, seen, names):
    """Whether a request is as expected; "$name" stands for any text, the same wherever it stands."""
    if isinstance(wanted, str) and wanted.startswith("$"):
        return isinstance(seen, str) and seen != "" and names.setdefault(wanted, seen) == seen
    if isinstance(wanted, dict) and isinstance(seen, dict):
        return wanted.keys() == seen.keys() and all(
            matches(value, seen[key], names) for key, value in wanted.items()
        )
    return wanted == seen


class Script:
    """What is left of the transcript, and what went wrong."""

    def __init__(self, transcript):
        self.steps = list(transcript["server"])
        self.names = {}
        self.problems = []

    def problem(self, sentence):
        self.problems.append(sentence)

    def next(self, call, request):
        """The step for a request, or None when it was not to come."""
        if not self.steps:
            self.problem(f"{call} came and nothing was to come: {request}")
            return None
        step = self.steps.pop(0)
        wanted = step["request"]
        if step["call"] != call or not matches(wanted, request, self.names):
            self.problem(f"{step['call']} {wanted} was to come, {call} {request} came")
        return step["then"]


class Stream:
    """One call, as far as it was heard."""

    def __init__(self):
        self.path = ""
        self.bytes = b""
        self.messages = asyncio.Queue()
        self.reset = asyncio.Event()
        self.begun = False

    def heard(self, data):
        self.bytes += data
        while len(self.bytes) >= 5:
            length = int.from_bytes(self.bytes[1:5], "big")
            if len(self.bytes) < 5 + length:
                return
            self.messages.put_nowait(self.bytes[5 : 5 + length])
            self.bytes = self.bytes[5 + length :]


class Connection(asyncio.Protocol):
    def __init__(self, server):
        self.server = server
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.streams = {}
        self.tasks = set()
        self.pong = asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport
        self.server.connections.add(self)
        self.h2.initiate_connection()
        self.flush()

    def connection_lost(self, _):
        self.server.connections.discard(self)
        for stream in self.streams.values():
            stream.reset.set()

    def flush(self):
        self.transport.write(self.h2.data_to_send())

    def data_received(self, data):
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                stream = self.streams[event.stream_id] = Stream()
                stream.path = dict(event.headers)[b":path"].decode()
                task = asyncio.ensure_future(self.serve(event.stream_id, stream))
                self.tasks.add(task)
                task.add_done_callback(self.over)
            elif isinstance(event, h2.events.DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                self.streams[event.stream_id].heard(event.data)
            elif isinstance(event, h2.events.StreamEnded):
                self.streams[event.stream_id].messages.put_nowait(None)
            elif isinstance(event, h2.events.PingAckReceived):
                self.pong.set()
            elif isinstance(event, h2.events.StreamReset):
                self.streams[event.stream_id].reset.set()
        self.flush()

    def over(self, task):
        self.tasks.discard(task)
        if not task.cancelled() and task.exception():
            self.server.script.problem(f"a step: {task.exception()!r}")
            self.transport.abort()

    async def serve(self, number, stream):
        service, name = stream.path[1:].split("/")
        method = SERVICES[service].methods_by_name[name]

        async def read():
            data = await asyncio.wait_for(stream.messages.get(), PATIENCE)
            if data is None:
                return None
            message = message_factory.GetMessageClass(method.input_type)
            seen = json_format.MessageToDict(message.FromString(data))
            # To filter by nothing is not to filter.
            return {key: value for key, value in seen.items() if (key, value) != ("filter", {})}

        for op in self.server.script.next(name, await read()) or [{"cut": True}]:
            (what, value) = next(iter(op.items()))
            if what == "send":
                message = json_format.ParseDict(value, message_factory.GetMessageClass(method.output_type)())
                self.send(number, stream, message.SerializeToString())
            elif what == "status":
                self.trailers(number, stream, value)
            elif what == "end":
                self.trailers(number, stream, {"code": "OK"})
            elif what == "read":
                seen = await read()
                if not matches(value, seen, self.server.script.names):
                    self.server.script.problem(f"{name}: {value} was to come, {seen} came")
            elif what == "cancelled":
                await asyncio.wait_for(stream.reset.wait(), PATIENCE)
            elif what == "reset":
                self.h2.reset_stream(number, h2.errors.ErrorCodes[value])
            elif what == "cut":
                await self.heard()
                if value == "once told":
                    await asyncio.wait_for(self.server.told.acquire(), PATIENCE)
                self.transport.abort()
            elif what == "down_ms":
                await self.heard()
                await self.server.down(value / 1000)
            elif what != "hang":
                raise ValueError(f"no step is called {what}")
            if not self.transport.is_closing():
                self.flush()

    async def heard(self):
        """Until the client has heard all that was sent: a broken connection loses what was not."""
        self.pong.clear()
        self.h2.ping(b"heard it")
        self.flush()
        await asyncio.wait_for(self.pong.wait(), PATIENCE)

    def begin(self, number, stream, more=(), end=False):
        headers = [(":status", "200"), ("content-type", "application/grpc")]
        self.h2.send_headers(number, [*headers, *more], end_stream=end)
        stream.begun = True

    def send(self, number, stream, data):
        if not stream.begun:
            self.begin(number, stream)
        self.h2.send_data(number, b"\0" + len(data).to_bytes(4, "big") + data)

    def trailers(self, number, stream, status):
        code = code_pb2.Code.Value(status["code"])
        trailers = [("grpc-status", str(code)), ("grpc-message", status.get("message", ""))]
        if "reason" in status:
            detail = any_pb2.Any()
            detail.Pack(
                error_details_pb2.ErrorInfo(
                    reason=status["reason"],
                    domain="banger",
                    metadata=status.get("metadata", {}),
                )
            )
            whole = status_pb2.Status(code=code, details=[detail]).SerializeToString()
            encoded = base64.b64encode(whole).decode().rstrip("=")
            trailers.append(("grpc-status-details-bin", encoded))
        if stream.begun:
            self.h2.send_headers(number, trailers, end_stream=True)
        else:
            self.begin(number, stream, trailers, end=True)


class Server:
    def __init__(self, transcript):
        self.script = Script(transcript)
        self.connections = set()
        # Released by each line on the standard input.
        self.told = asyncio.Semaphore(0)
        self.listener = None
        self.port = 0

    async def listen(self):
        loop = asyncio.get_running_loop()
        self.listener = await loop.create_server(
            lambda: Connection(self), "127.0.0.1", self.port, reuse_address=True
        )
        self.port = self.listener.sockets[0].getsockname()[1]

    async def down(self, seconds):
        """Not there at all for a while."""
        self.listener.close()
        for connection in list(self.connections):
            connection.transport.abort()
        await asyncio.sleep(seconds)
        await self.listen()


async def main():
    transcript = json.loads(Path(sys.argv[1]).read_text())
    server = Server(transcript)
    await server.listen()
    if not transcript.get("listens", True):
        server.listener.close()
    print(json.dumps({"port": server.port}), flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        server.told.release()
    left = [f"{step['call']} was to come and did not" for step in server.script.steps]
    texts = [server.script.names.get(name) for name in transcript.get("distinct", [])]
    if len(set(texts)) != len(texts):
        left.append(f"{transcript['distinct']} were to be different: {texts}")
    print(json.dumps({"problems": server.script.problems + left}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
