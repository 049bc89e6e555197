"""The transcripts of integration-tests/clients/conformance, by the blocking client and by asyncio.

What a transcript has the client do is done here in both ways and compared with what is expected; the
scripted server says what it thought of the requests.
"""

import asyncio
import json
import subprocess
import sys
import unittest
from pathlib import Path
from typing import Any

from google.protobuf import json_format, message_factory
from google.protobuf.message import Message

import banger_client
from banger_client import BangerError, Bookmark, Change, Current, Reconnecting, Update, aio, v1

CONFORMANCE = Path(__file__).resolve().parents[3] / "integration-tests/clients/conformance"

Json = dict[str, Any]


class Server:
    """The scripted server, as a process."""

    def __init__(self, transcript: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(CONFORMANCE / "server.py"), str(transcript)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.address = f"127.0.0.1:{json.loads(self._process.stdout.readline())['port']}"

    def told(self) -> None:
        """All that comes before the next break has been told."""
        assert self._process.stdin is not None
        self._process.stdin.write("told\n")
        self._process.stdin.flush()

    def problems(self) -> list[str]:
        out, _ = self._process.communicate(timeout=20)
        problems: list[str] = json.loads(out)["problems"]
        return problems


def request(name: str, fields: Json) -> tuple[str, Message]:
    """Which calls have it, and its message."""
    for module, service in (("vm", "VmService"), ("host", "HostService")):
        file = sys.modules[f"banger_client._gen.{module}_pb2"].DESCRIPTOR
        method = file.services_by_name[service].methods_by_name.get(name)
        if method is not None:
            message = message_factory.GetMessageClass(method.input_type)()
            return f"{module}s", json_format.ParseDict(fields, message)
    raise ValueError(f"no call is named {name}")


def snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def as_json(update: Update[v1.Vm]) -> list[Any]:
    if isinstance(update, Change):
        return [update.kind, update.object.id, update.revision]
    if isinstance(update, Current):
        return ["current", update.revision]
    if isinstance(update, Bookmark):
        return ["bookmark", update.revision]
    assert isinstance(update, Reconnecting)
    return ["reconnecting", update.error.kind.value]


def failed(error: BangerError) -> Json:
    return {
        "error": {
            "kind": error.kind.value,
            "reason": error.reason,
            "outcome_unknown": error.outcome_unknown,
        }
    }


class Conformance(unittest.TestCase):
    maxDiff = None

    def test_the_blocking_client_does_what_the_transcripts_say(self) -> None:
        self._each(self._blocking)

    def test_the_client_for_asyncio_does_what_the_transcripts_say(self) -> None:
        # One loop for all: grpcio's is not made for several in one process.
        with asyncio.Runner() as runner:
            self._each(lambda server, action: runner.run(self._awaited(server, action)))

    def _each(self, act: Any) -> None:
        transcripts = sorted((CONFORMANCE / "transcripts").glob("*.json"))
        self.assertGreater(len(transcripts), 20)
        for path in transcripts:
            transcript = json.loads(path.read_text())
            with self.subTest(path.stem, claim=transcript["name"]):
                server = Server(path)
                try:
                    for action in transcript["client"]:
                        self.assertEqual(act(server, action), action["expect"])
                finally:
                    problems = server.problems()
                self.assertEqual(problems, [])

    def _blocking(self, server: Server, action: Json) -> Any:
        deadline = action.get("deadline_ms", 5000) / 1000
        with banger_client.connect(server.address, deadline=deadline) as client:
            try:
                if "call" in action:
                    of, message = request(action["call"], action["request"])
                    answer = getattr(getattr(client, of), snake(action["call"]))(message)
                    return {"answer": json_format.MessageToDict(answer)}
                if "list" in action:
                    found = client.list_vms()
                    return {"ids": [vm.id for vm in found.vms], "revision": found.revision}
                if "exec" in action:
                    told = action["exec"]
                    stdin = [part.encode() for part in told["stdin"]]
                    result = client.run(told["vm"], told["command"], stdin=stdin)
                    return _ran(result)
                if "copy_to" in action:
                    to = action["copy_to"]
                    parts = [part.encode() for part in to["data"]]
                    copied = client.copy_to(to["vm"], to["directory"], parts)
                    return {"entries": copied.entries, "bytes": copied.bytes}
                if "copy_from" in action:
                    data = b"".join(client.copy_from(**action["copy_from"]))
                    return {"data": data.decode()}
                after = client.list_vms() if action.get("after_list") else None
                seen: list[list[Any]] = []
                try:
                    for update in client.watch_vms(after=after):
                        seen.append(as_json(update))
                        if len(seen) == len(action["expect"]):
                            break
                        if action["expect"][len(seen)][0] == "reconnecting":
                            server.told()
                except BangerError as error:
                    seen.append(["error", error.kind.value, error.reason])
                return seen
            except BangerError as error:
                return failed(error)

    async def _awaited(self, server: Server, action: Json) -> Any:
        deadline = action.get("deadline_ms", 5000) / 1000
        async with aio.connect(server.address, deadline=deadline) as client:
            try:
                if "call" in action:
                    of, message = request(action["call"], action["request"])
                    answer = await getattr(getattr(client, of), snake(action["call"]))(message)
                    return {"answer": json_format.MessageToDict(answer)}
                if "list" in action:
                    found = await client.list_vms()
                    return {"ids": [vm.id for vm in found.vms], "revision": found.revision}
                if "exec" in action:
                    told = action["exec"]
                    stdin = [part.encode() for part in told["stdin"]]
                    result = await client.run(told["vm"], told["command"], stdin=stdin)
                    return _ran(result)
                if "copy_to" in action:
                    to = action["copy_to"]
                    parts = [part.encode() for part in to["data"]]
                    copied = await client.copy_to(to["vm"], to["directory"], parts)
                    return {"entries": copied.entries, "bytes": copied.bytes}
                if "copy_from" in action:
                    copy = client.copy_from(**action["copy_from"])
                    data = b"".join([part async for part in copy])
                    return {"data": data.decode()}
                after = await client.list_vms() if action.get("after_list") else None
                seen: list[list[Any]] = []
                try:
                    async for update in client.watch_vms(after=after):
                        seen.append(as_json(update))
                        if len(seen) == len(action["expect"]):
                            break
                        if action["expect"][len(seen)][0] == "reconnecting":
                            server.told()
                except BangerError as error:
                    seen.append(["error", error.kind.value, error.reason])
                return seen
            except BangerError as error:
                return failed(error)


def _ran(result: banger_client.ExecResult) -> Json:
    return {
        "code": result.code,
        "stdout": result.stdout.decode(),
        "stderr": result.stderr.decode(),
    }


if __name__ == "__main__":
    unittest.main()
