"""Makes the calls of one server, blocking, and keeps the rule of repeating."""

import random
import threading
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import grpc

from ._channel import OPTIONS, metadata, roots
from ._method import Answered, Asked, Call, Method
from .contexts import Endpoint
from .errors import BangerError, banger_error
from .rule import DEFAULT_DEADLINE, Attempts, identified

M = TypeVar("M")


class Stream(Generic[M]):
    """An open stream of answers. Ends with its error, `close`, or the end of a `with`."""

    def __init__(self, call: Any, of: Call, closed: threading.Event) -> None:
        self._answers = call
        self._call = of
        self._closed = closed

    def __iter__(self) -> Iterator[M]:
        return self

    def __next__(self) -> M:
        try:
            answer: M = next(self._answers)
        except grpc.RpcError as error:
            raise banger_error(error, self._call, self._closed.is_set()) from error
        return answer

    def close(self) -> None:
        """Lets go of the stream; what runs at its other end is ended."""
        self._answers.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()


class Link:
    def __init__(self, endpoint: Endpoint, deadline: float | None = None) -> None:
        self._metadata = metadata(endpoint)
        self._deadline = DEFAULT_DEADLINE if deadline is None else deadline
        self.closed = threading.Event()
        if endpoint.tls:
            trusted = grpc.ssl_channel_credentials(roots(endpoint))
            self._channel = grpc.secure_channel(endpoint.target, trusted, OPTIONS)
        else:
            self._channel = grpc.insecure_channel(endpoint.target, OPTIONS)

    def close(self) -> None:
        self.closed.set()
        self._channel.close()

    def unary(
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
                return call(request, timeout=left, metadata=self._metadata)
            except grpc.RpcError as error:
                told = banger_error(error, method.call, self.closed.is_set())
                try:
                    pause = attempts.failed(told, time.monotonic(), random.random())
                except BangerError as final:
                    raise final from error
            self.closed.wait(pause)

    def stream(
        self, method: Method[Asked, Answered], request: Asked, timeout: float | None
    ) -> Stream[Answered]:
        call = self._channel.unary_stream(
            method.path,
            request_serializer=method.asked.SerializeToString,
            response_deserializer=method.answered.FromString,
        )
        answers = call(request, timeout=timeout, metadata=self._metadata)
        return Stream(answers, method.call, self.closed)

    def duplex(
        self, method: Method[Asked, Answered], requests: Iterable[Asked], timeout: float | None
    ) -> Stream[Answered]:
        call = self._channel.stream_stream(
            method.path,
            request_serializer=method.asked.SerializeToString,
            response_deserializer=method.answered.FromString,
        )
        answers = call(iter(requests), timeout=timeout, metadata=self._metadata)
        return Stream(answers, method.call, self.closed)

    def upload(
        self, method: Method[Asked, Answered], requests: Iterable[Asked], timeout: float | None
    ) -> Answered:
        call = self._channel.stream_unary(
            method.path,
            request_serializer=method.asked.SerializeToString,
            response_deserializer=method.answered.FromString,
        )
        try:
            return call(iter(requests), timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise banger_error(error, method.call, self.closed.is_set()) from error
