"""Programs in a guest, and files: the messages of their streams.

Nothing is repeated when a connection breaks: what a program did by then is not known, and the error
says so. Letting go of the output ends the call, and with it the program.
"""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass

from ._gen import v1
from ._method import Call
from .errors import broken

EXEC = Call("ExecVm", changes=True)

MAX_DATA_BYTES = 64 * 1024
"""Most bytes of data in one message."""


@dataclass(frozen=True)
class Started:
    pid: int
    """In the guest."""


@dataclass(frozen=True)
class Stdout:
    data: bytes


@dataclass(frozen=True)
class Stderr:
    data: bytes


@dataclass(frozen=True)
class Exited:
    """How a program ended: one of the two."""

    code: int | None
    signal: int | None


ExecEvent = Started | Stdout | Stderr | Exited


@dataclass(frozen=True)
class ExecResult:
    """How a program ended, and all it wrote."""

    code: int | None
    signal: int | None
    stdout: bytes
    stderr: bytes


class Collected:
    """What a program writes, up to a bound."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._out: list[bytes] = []
        self._err: list[bytes] = []

    def take(self, event: ExecEvent) -> ExecResult | None:
        """Keeps an event; answers the result once it is the last."""
        if isinstance(event, Exited):
            out, err = b"".join(self._out), b"".join(self._err)
            return ExecResult(event.code, event.signal, out, err)
        if isinstance(event, (Stdout, Stderr)):
            self._most -= len(event.data)
            if self._most < 0:
                raise OverflowError("the program wrote more than was to be kept")
            (self._out if isinstance(event, Stdout) else self._err).append(event.data)
        return None


def start(
    vm: str,
    command: Iterable[str],
    environment: Mapping[str, str] | None,
    directory: str,
    user: str,
    terminal: v1.TerminalSize | None,
) -> v1.ExecVmRequest:
    wanted = v1.ExecStart(
        command=command,
        environment=environment or {},
        directory=directory,
        user=user,
        terminal=terminal,
    )
    return v1.ExecVmRequest(vm=vm, input=v1.ExecInput(start=wanted))


def parts(data: bytes) -> Iterator[bytes]:
    """The data in parts that a message can carry."""
    for at in range(0, len(data), MAX_DATA_BYTES):
        yield data[at : at + MAX_DATA_BYTES]


_STDIN_CLOSED = v1.ExecVmRequest(input=v1.ExecInput(stdin_closed=v1.ExecStdinClosed()))


def fed(first: v1.ExecVmRequest, stdin: Iterable[bytes]) -> Iterator[v1.ExecVmRequest]:
    yield first
    for data in stdin:
        for part in parts(data):
            yield v1.ExecVmRequest(input=v1.ExecInput(stdin=part))
    yield _STDIN_CLOSED


async def aio_fed(
    first: v1.ExecVmRequest, stdin: AsyncIterable[bytes] | Iterable[bytes]
) -> AsyncIterator[v1.ExecVmRequest]:
    yield first
    async for data in each(stdin):
        for part in parts(data):
            yield v1.ExecVmRequest(input=v1.ExecInput(stdin=part))
    yield _STDIN_CLOSED


async def each(data: AsyncIterable[bytes] | Iterable[bytes]) -> AsyncIterator[bytes]:
    if isinstance(data, AsyncIterable):
        async for part in data:
            yield part
    else:
        for part in data:
            yield part


def event(response: v1.ExecVmResponse) -> ExecEvent | None:
    output = response.output
    which = output.WhichOneof("output")
    if which == "started":
        return Started(output.started.pid)
    if which == "stdout":
        return Stdout(output.stdout)
    if which == "stderr":
        return Stderr(output.stderr)
    if which == "exited":
        exited = output.exited
        return Exited(
            exited.code if exited.HasField("code") else None,
            exited.signal if exited.HasField("signal") else None,
        )
    return None


def ended_early() -> Exception:
    return broken(EXEC, "the stream ended before the program")
