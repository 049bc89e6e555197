"""Makes the calls of one server for asyncio, and keeps the rule of repeating."""

import asyncio
import random
import time
from collections.abc import AsyncIterable, AsyncIterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import grpc
import grpc.aio

from ._channel import OPTIONS, metadata, roots
from ._method import Answered, Asked, Call, Method
from .contexts import Endpoint
from .errors import BangerError, banger_error
from .rule import DEFAULT_DEADLINE, Attempts, identified

M = TypeVar("M")


class AioStream(Generic[M]):
    """An open stream of answers. Ends with its error, `close`, or the end of an `async with`."""

    def __init__(self, call: Any, of: Call) -> None:
        self._answers = call
        self._iterator = call.__aiter__()
        self._call = of

    def __aiter__(self) -> AsyncIterator[M]:
        return self

    async def __anext__(self) -> M:
        try:
            answer: M = await self._iterator.__anext__()
        except grpc.RpcError as error:
            raise banger_error(error, self._call) from error
        return answer

    def close(self) -> None:
        """Lets go of the stream; what runs at its other end is ended."""
        self._answers.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()


class AioLink:
    def __init__(self, endpoint: Endpoint, deadline: float | None = None) -> None:
        self._metadata = metadata(endpoint)
        self._deadline = DEFAULT_DEADLINE if deadline is None else deadline
        if endpoint.tls:
            trusted = grpc.ssl_channel_credentials(roots(endpoint))
            self._channel = grpc.aio.secure_channel(endpoint.target, trusted, OPTIONS)
        else:
            self._channel = grpc.aio.insecure_channel(endpoint.target, OPTIONS)

    async def close(self) -> None:
        await self._channel.close()

    async def unary(
        self, method: Method[Asked, Answered], request: Asked, timeout: float | None
    ) -> Answered:
        call = self._channel.unary_unary(
            method.path,
            request_serializer=method.asked.SerializeToString,
            response_deserializer=method.answered.FromString,
        )
        request = identified(method, request)
        limit = self._deadline if timeout is None else timeout
        attempts = Attempts(method, time.monotonic() + limit)
        while True:
            left = attempts.left(time.monotonic())
            try:
                answer: Answered = await call(request, timeout=left, metadata=self._metadata)
                return answer
            except grpc.RpcError as error:
                told = banger_error(error, method.call)
                try:
                    pause = attempts.failed(told, time.monotonic(), random.random())
                except BangerError as final:
                    raise final from error
            await asyncio.sleep(pause)

    def stream(
        self, method: Method[Asked, Answered], request: Asked, timeout: float | None
    ) -> AioStream[Answered]:
        call = self._channel.unary_stream(
            method.path,
            request_serializer=method.asked.SerializeToString,
            response_deserializer=method.answered.FromString,
        )
        return AioStream(call(request, timeout=timeout, metadata=self._metadata), method.call)

    def duplex(
        self, method: Method[Asked, Answered], requests: AsyncIterable[Asked], timeout: float | None
    ) -> AioStream[Answered]:
        call = self._channel.stream_stream(
            method.path,
            request_serializer=method.asked.SerializeToString,
            response_deserializer=method.answered.FromString,
        )
        return AioStream(call(aiter(requests), timeout=timeout, metadata=self._metadata), method.call)

    async def upload(
        self, method: Method[Asked, Answered], requests: AsyncIterable[Asked], timeout: float | None
    ) -> Answered:
        call = self._channel.stream_unary(
            method.path,
            request_serializer=method.asked.SerializeToString,
            response_deserializer=method.answered.FromString,
        )
        try:
            answer: Answered = await call(aiter(requests), timeout=timeout, metadata=self._metadata)
            return answer
        except grpc.RpcError as error:
            raise banger_error(error, method.call) from error
