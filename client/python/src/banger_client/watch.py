"""Watches that resume by themselves, blocking and for asyncio.

The consumer is told the state at a revision and then every change, once and in order. When the
connection breaks, the stream is opened again after the last revision that was told; when the server
no longer knows that revision, the state is read anew and the differences are made up (`told`). Only
an error that no retry can help ends a watch, and it is raised.
"""

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from ._aio_link import AioStream
from ._gen import v1
from ._link import Stream
from ._method import Call
from .backoff import Backoff
from .errors import BangerError, broken
from .told import Reconnecting, T, Update

R = TypeVar("R", contravariant=True)
S = TypeVar("S")


class Told(Protocol[T, R]):
    """What the consumer has been told."""

    def forget_revision(self) -> bool: ...
    def take(self, response: R, /) -> Iterable[Update[T]]: ...


def _again(
    error: BangerError, told: Told[T, R], backoff: Backoff
) -> Reconnecting | None:
    """What to tell of a broken stream: nothing when it is to be opened again at once."""
    if error.is_(v1.ErrorReason.ERROR_REASON_REVISION_TOO_OLD):
        # At once, and only once in a row: the next attempt names no revision.
        if told.forget_revision():
            return None
    elif not error.is_passing:
        raise error
    return Reconnecting(error, backoff.pause(random.random()))


def follow(
    call: Call,
    open_stream: Callable[[], Stream[S]],
    told: Told[T, S],
    closed: threading.Event,
) -> Iterator[Update[T]]:
    backoff = Backoff()
    while not closed.is_set():
        try:
            with open_stream() as stream:
                for response in stream:
                    backoff.reset()
                    yield from told.take(response)
            error = broken(call, "the stream ended")
        except BangerError as found:
            error = found
        except ValueError:
            # What grpcio raises of a channel that was closed.
            if not closed.is_set():
                raise
        if closed.is_set():
            return
        again = _again(error, told, backoff)
        if again is not None:
            yield again
            closed.wait(again.pause)


async def aio_follow(
    call: Call, open_stream: Callable[[], AioStream[S]], told: Told[T, S]
) -> AsyncIterator[Update[T]]:
    backoff = Backoff()
    while True:
        try:
            async with open_stream() as stream:
                async for response in stream:
                    backoff.reset()
                    for update in told.take(response):
                        yield update
            error = broken(call, "the stream ended")
        except BangerError as found:
            error = found
        again = _again(error, told, backoff)
        if again is not None:
            yield again
            await asyncio.sleep(again.pause)
