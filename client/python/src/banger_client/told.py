"""What the consumer of a watch has been told, and what to tell it next. Pure.

            begin() = None                 initial_state_complete
  Listing{unseen} <------------ Listing -------------------------> Following(revision)
        ^                                                               |
        +----------------- forget_revision() <-------- too old ---------+

While listing, objects that were told before and have not come again yet are `unseen`; those still
unseen when the state is complete went away while nobody was looking. The clients in Rust and
TypeScript have the same file; integration-tests/clients/conformance has transcripts of what it comes
to.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from ._gen import v1
from .errors import BangerError

T = TypeVar("T", v1.Vm, v1.Host)


@dataclass(frozen=True)
class Change(Generic[T]):
    """One change of one object, as the consumer sees it."""

    kind: Literal["added", "modified", "removed"]
    object: T
    """The object now; for "removed" as it was last seen."""
    revision: int
    """Of the change; 0 when it was found by comparing and has none of its own."""


@dataclass(frozen=True)
class Current:
    """The state at this revision has been told whole."""

    revision: int


@dataclass(frozen=True)
class Bookmark:
    """Nothing happened up to this revision."""

    revision: int


@dataclass(frozen=True)
class Reconnecting:
    """The connection broke. Nothing will be missed; only a display may want to say so."""

    error: BangerError
    pause: float
    """Seconds until the next attempt."""


Update = Change[T] | Current | Bookmark | Reconnecting


@dataclass(frozen=True)
class VmList:
    vms: Sequence[v1.Vm]
    revision: int
    """A watch after this revision has no gap."""


class ToldVms:
    def __init__(self, known: VmList | None = None) -> None:
        self._vms: dict[str, v1.Vm] = {vm.id: vm for vm in known.vms} if known else {}
        self._revision: int | None = known.revision if known else None
        self._unseen: set[str] = set()

    def begin(self) -> int | None:
        """A new stream is about to be opened: after which revision, or from the state now."""
        if self._revision is None:
            # A list that broke off half way begins anew.
            self._unseen = set(self._vms)
        return self._revision

    def forget_revision(self) -> bool:
        """The server no longer knows the revision. False when none had been named."""
        named = self._revision is not None
        self._revision = None
        return named

    def take(self, response: v1.WatchVmsResponse) -> Iterable[Update[v1.Vm]]:
        """The server said something: what to tell the consumer."""
        for event in response.events:
            change = self._event(event)
            if change is not None:
                yield change
        if self._revision is None:
            # Before the state is complete a revision says nothing that can be resumed from.
            if response.initial_state_complete:
                gone, self._unseen = sorted(self._unseen), set()
                self._revision = response.revision
                for vm_id in gone:
                    yield Change("removed", self._vms.pop(vm_id), 0)
                yield Current(response.revision)
        else:
            self._revision = max(self._revision, response.revision)
            if not response.events:
                yield Bookmark(self._revision)

    def _event(self, event: v1.VmEvent) -> Change[v1.Vm] | None:
        vm = event.vm
        revision = max(event.revision, vm.revision)
        self._unseen.discard(vm.id)
        before = self._vms.get(vm.id)
        # A resumed stream may repeat what was told; a revision is never told twice.
        if before is not None and before.revision >= revision > 0:
            return None
        # A server that was restarted counts anew; a VM that is as it was has not changed.
        if self._revision is None and before is not None and _same_but_for_revision(before, vm):
            self._vms[vm.id] = vm
            return None
        if event.type == v1.VmEventType.VM_EVENT_TYPE_REMOVED:
            if self._vms.pop(vm.id, None) is None:
                return None
            return Change("removed", vm, revision)
        # Which of the two it is depends on what this consumer knows, not on what the server thinks
        # it knows.
        self._vms[vm.id] = vm
        return Change("added" if before is None else "modified", vm, revision)


class ToldHosts:
    """As of VMs. The server gives hosts no revisions: each stream begins with the state."""

    def __init__(self) -> None:
        self._hosts: dict[str, v1.Host] = {}
        self._unseen: set[str] = set()

    def begin(self) -> None:
        self._unseen = set(self._hosts)

    def forget_revision(self) -> bool:
        return False

    def take(self, response: v1.WatchHostsResponse) -> Iterable[Update[v1.Host]]:
        for host in response.hosts:
            self._unseen.discard(host.id)
            before = self._hosts.get(host.id)
            if before != host:
                self._hosts[host.id] = host
                yield Change("added" if before is None else "modified", host, 0)
        gone = list(response.removed_host_ids)
        if response.initial_state_complete:
            gone += sorted(self._unseen)
            self._unseen = set()
        for host_id in gone:
            removed = self._hosts.pop(host_id, None)
            if removed is not None:
                yield Change("removed", removed, 0)
        if response.initial_state_complete:
            yield Current(0)


def _same_but_for_revision(a: v1.Vm, b: v1.Vm) -> bool:
    copy = v1.Vm()
    copy.CopyFrom(a)
    copy.revision = b.revision
    return copy == b
