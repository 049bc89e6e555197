"""What can go wrong between a client and a server.

A caller does something else for each kind: the server was never reached (nothing happened), the
connection broke or the deadline passed in the middle (what happened is not known), or the server
answered with a refusal and its reason. `outcome_unknown` says the one thing that matters after a
change: whether it may have been made. What is not known for certain is said to be unknown.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from ._gen.error_pb2 import ErrorReason
from ._method import Call


class EndpointError(ValueError):
    """The endpoint cannot be used; nothing was sent."""


class Kind(Enum):
    UNREACHABLE = "unreachable"
    """No connection came about; the server has not seen the request."""
    INTERRUPTED = "interrupted"
    """The connection broke while the call was under way."""
    NO_ANSWER = "no-answer"
    """The deadline passed before an answer came."""
    CANCELLED = "cancelled"
    """By the caller."""
    NOT_BANGER = "not-banger"
    """Something answered, but not a banger server."""
    REFUSED = "refused"
    """The server's answer; see `reason`."""


@dataclass(frozen=True)
class FieldProblem:
    """One field of a request that is wrong."""

    field: str
    """Path in the request, such as "spec.memory_mib"."""
    description: str


@dataclass(eq=False)
class BangerError(Exception):
    """Raised by every call of the client."""

    kind: Kind
    call: Call
    message: str
    code: grpc.StatusCode
    reason: str = ""
    """Why the server refused, from docs/ERRORS.md: "VM_NOT_FOUND"; empty for what is no refusal."""
    fields: Sequence[FieldProblem] = ()
    """Every field that is wrong."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the server says beside the reason, such as the name of a host."""
    outcome_unknown: bool = False
    """Whether the change may have been made although this error came. Never set for a read."""

    def __str__(self) -> str:
        unknown = "; whether it took effect is not known" if self.outcome_unknown else ""
        reason = f" ({self.reason})" if self.reason else ""
        return f"{self.message}{reason}{unknown}"

    def is_(self, reason: ErrorReason) -> bool:
        """Whether the server refused for this reason."""
        name = ErrorReason.Name(reason).removeprefix("ERROR_REASON_")
        return self.kind is Kind.REFUSED and self.reason == name

    @property
    def is_passing(self) -> bool:
        """Whether the same call may go well later with nothing else changed."""
        if self.kind is Kind.REFUSED:
            return self.code in _PASSING
        return self.kind in (Kind.UNREACHABLE, Kind.INTERRUPTED, Kind.NO_ANSWER)

    @property
    def is_decided(self) -> bool:
        """Whether this answer proves that no attempt with the same request_id was carried out."""
        return self.kind is Kind.REFUSED and self.code in _DECIDED

    def of_unknown_outcome(self) -> "BangerError":
        """The same error, of a call whose earlier attempt may have been carried out."""
        return replace(self, outcome_unknown=self.call.changes)


_Code = grpc.StatusCode

_PASSING = {
    _Code.UNAVAILABLE,
    _Code.ABORTED,
    _Code.CANCELLED,
    _Code.DEADLINE_EXCEEDED,
    _Code.RESOURCE_EXHAUSTED,
    _Code.INTERNAL,
    _Code.UNKNOWN,
}
# Refusals by the part of the server that knows what was done before.
_DECIDED = {
    _Code.NOT_FOUND,
    _Code.ALREADY_EXISTS,
    _Code.ABORTED,
    _Code.FAILED_PRECONDITION,
    _Code.INVALID_ARGUMENT,
    _Code.OUT_OF_RANGE,
}
# Refusals that leave open what was done.
_LEAVES_OPEN = {_Code.UNKNOWN, _Code.INTERNAL, _Code.CANCELLED, _Code.DEADLINE_EXCEEDED}
# Without a reason these are of something on the way.
_LOST = {_Code.UNAVAILABLE, _Code.UNKNOWN, _Code.INTERNAL, _Code.CANCELLED}

_Details = "grpc-status-details-bin"
_NeverConnected = (
    "failed to connect to all addresses",
    "connections to all backends failing",
    "DNS resolution failed",
    "name resolution",
    "empty address list",
)
_NoGrpc = ("http1.x server", "Received http2 header with status", "content-type")


def banger_error(error: Any, call: Call, cancelled: bool = False) -> BangerError:
    """Turns an error of grpcio into one of this library."""
    # Every error that grpcio raises is a call, too, which its types say of neither kind.
    code: grpc.StatusCode = error.code()
    message: str = error.details() or ""
    trailers: Iterable[tuple[str, str | bytes]] = error.trailing_metadata() or ()
    detail = next((value for key, value in trailers if key == _Details), None)
    if isinstance(detail, bytes):
        info, fields = _details(detail)
        if info is not None:
            return _refusal(code, message, call, info.reason, dict(info.metadata), fields)
    if cancelled:
        text = f"{call.name} was cancelled"
        return BangerError(Kind.CANCELLED, call, text, code, outcome_unknown=call.changes)
    if code is _Code.DEADLINE_EXCEEDED:
        text = f"no answer to {call.name} in time"
        return BangerError(Kind.NO_ANSWER, call, text, code, outcome_unknown=call.changes)
    if any(words in message for words in _NoGrpc):
        text = f"what answers is not a banger server: {message}"
        return BangerError(Kind.NOT_BANGER, call, text, code)
    if code is _Code.UNAVAILABLE and any(words in message for words in _NeverConnected):
        text = f"cannot reach the server: {message}"
        return BangerError(Kind.UNREACHABLE, call, text, code)
    if code in _LOST:
        text = f"the connection broke during {call.name}: {message}"
        return BangerError(Kind.INTERRUPTED, call, text, code, outcome_unknown=call.changes)
    return _refusal(code, message, call, "", {}, ())


def broken(call: Call, message: str) -> BangerError:
    """A stream that ended without saying how."""
    text = f"the connection broke during {call.name}: {message}"
    return BangerError(
        Kind.INTERRUPTED, call, text, _Code.UNAVAILABLE, outcome_unknown=call.changes
    )


def _refusal(
    code: grpc.StatusCode,
    message: str,
    call: Call,
    reason: str,
    metadata: Mapping[str, str],
    fields: Sequence[FieldProblem],
) -> BangerError:
    return BangerError(
        Kind.REFUSED,
        call,
        message or f"{call.name} was refused: {code.name}",
        code,
        reason,
        fields,
        metadata,
        outcome_unknown=call.changes and code in _LEAVES_OPEN,
    )


def _details(
    detail: bytes,
) -> tuple[error_details_pb2.ErrorInfo | None, Sequence[FieldProblem]]:
    info: error_details_pb2.ErrorInfo | None = None
    fields: list[FieldProblem] = []
    for packed in status_pb2.Status.FromString(detail).details:
        if packed.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo.FromString(packed.value)
        elif packed.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest.FromString(packed.value)
            fields = [FieldProblem(v.field, v.description) for v in bad.field_violations]
    return info, fields
