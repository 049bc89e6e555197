"""Waiting for a state of a VM, over broken connections and restarts of the server. Pure.

The server does the waiting (WaitVm); this side asks again when an answer says "not yet", or when the
connection breaks, until the caller's own time is over. Id and generation are fixed by the first
answer, so that a VM deleted and made anew under the same name is not taken for the one that was meant.
"""

from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration

from ._gen import v1
from .backoff import Backoff
from .errors import BangerError

# The longest that one call asks the server to wait, and what its answer may take beyond that.
_LONGEST_STEP = 300.0
SLACK = 10.0


@dataclass(frozen=True)
class Waited:
    """How a wait ended. A state that is not reached is no error."""

    outcome: v1.WaitOutcome
    vm: v1.Vm | None
    """As it was then; None when it was gone before the wait began."""


class Waiting:
    def __init__(
        self, vm: str, state: v1.VmState, generation: int, guest_ready: bool, until: float
    ) -> None:
        self._request = v1.WaitVmRequest(
            vm=vm, state=state, generation=generation, guest_ready=guest_ready
        )
        self._until = until
        self._backoff = Backoff()
        self._vm: v1.Vm | None = None

    def request(self, now: float) -> tuple[v1.WaitVmRequest, float]:
        """What to ask, and how long the server may wait with its answer."""
        step = max(min(self._until - now, _LONGEST_STEP), 0.0)
        timeout = Duration()
        timeout.FromMilliseconds(int(step * 1000))
        self._request.timeout.CopyFrom(timeout)
        return self._request, step

    def answered(self, answer: v1.WaitVmResponse, now: float) -> Waited | None:
        self._backoff.reset()
        if answer.HasField("vm"):
            self._vm = answer.vm
            self._request.vm = answer.vm.id
            self._request.generation = self._request.generation or answer.vm.generation
        if answer.outcome != v1.WaitOutcome.WAIT_OUTCOME_TIMEOUT or now >= self._until:
            return Waited(answer.outcome, self._vm)
        return None

    def failed(self, error: BangerError, now: float, random: float) -> Waited | float:
        """The end, or seconds until to ask again; raises what no asking can help."""
        gone = error.is_(v1.ErrorReason.ERROR_REASON_VM_NOT_FOUND)
        if gone and self._request.state == v1.VmState.VM_STATE_DELETED:
            return Waited(v1.WaitOutcome.WAIT_OUTCOME_REACHED, self._vm)
        pause = self._backoff.pause(random)
        if not error.is_passing or now + pause >= self._until:
            raise error
        return pause
