"""The one rule of repeating. Pure: time and randomness are arguments.

A call has one deadline for all of its attempts. A server that was never reached is told at once; one
that was lost in the middle, or that says it is shutting down, is asked again until the deadline. Of a
change the repetition carries the same `request_id`, which `identified` sets where the caller has not,
so that the server makes the change once; a change without that field is never repeated. What was
sent and not answered stays unknown until the server has decided.
"""

import uuid
from typing import Any

from ._gen.error_pb2 import ErrorReason
from ._method import Answered, Asked, Method
from .backoff import Backoff
from .errors import BangerError, Kind

DEFAULT_DEADLINE = 30.0
"""Seconds that a call may take when nothing else was said. Streams and waits have none or their own."""


class Attempts:
    """The attempts of one call."""

    def __init__(self, method: Method[Any, Any], until: float) -> None:
        self._repeatable = method.takes_request_id or not method.call.changes
        self._until = until
        self._backoff = Backoff()
        self._last: BangerError | None = None
        self._unknown = False

    def left(self, now: float) -> float:
        """Seconds that the next attempt may take."""
        return max(self._until - now, 0.001)

    def failed(self, error: BangerError, now: float, random: float) -> float:
        """Seconds to wait before the next attempt; raises the error if there is to be none."""
        first = self._last is None
        # The deadline says less than what went wrong before it.
        told = self._last or error if error.kind is Kind.NO_ANSWER else error
        self._last = told
        self._unknown = (self._unknown or error.outcome_unknown) and not error.is_decided
        pause = self._backoff.pause(random)
        if not self._repeatable or not _is_repeated(error, first) or now + pause >= self._until:
            raise told.of_unknown_outcome() if self._unknown else told
        return pause


def _is_repeated(error: BangerError, first: bool) -> bool:
    if error.kind is Kind.UNREACHABLE:
        return not first
    shutting_down = error.is_(ErrorReason.ERROR_REASON_SHUTTING_DOWN)
    return error.kind is Kind.INTERRUPTED or shutting_down


def identified(method: Method[Asked, Answered], request: Asked) -> Asked:
    """The request with an id, if it can have one."""
    if not method.takes_request_id or getattr(request, "request_id"):
        return request
    copy = method.asked()
    copy.CopyFrom(request)
    setattr(copy, "request_id", str(uuid.uuid4()))
    return copy
