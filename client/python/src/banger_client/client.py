"""The blocking client of one server.

`vms`, `hosts`, `images`, `projects` and `tokens` are the calls of the API one to one; the methods are what is more than a
call. May be used by several threads.
"""

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Self

from . import guest
from ._gen import v1
from ._gen.calls import AuditCalls, HostCalls, ImageCalls, ProjectCalls, TokenCalls, VmCalls
from ._link import Link, Stream
from ._method import Call
from .contexts import Endpoint, resolve
from .errors import BangerError
from .table import LiveTable
from .told import ToldHosts, ToldVms, Update, VmList
from .wait import SLACK, Waited, Waiting
from .watch import follow

_PAGE = 500


def connect(
    server: str | None = None,
    *,
    context: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    token: str | None = None,
    token_file: str | os.PathLike[str] | None = None,
    insecure_plaintext: bool = False,
    deadline: float | None = None,
) -> "Client":
    """A client of the server that the arguments, the environment (BANGER_SERVER, BANGER_TOKEN,
    BANGER_CA, BANGER_CONTEXT) or the current context name. Connects at the first call, and anew
    whenever the connection breaks. Raises EndpointError."""
    endpoint = resolve(
        server,
        context=context,
        ca=ca,
        token=token,
        token_file=token_file,
        insecure_plaintext=insecure_plaintext,
    )
    return Client(endpoint, deadline=deadline)


class Client:
    def __init__(self, endpoint: Endpoint, *, deadline: float | None = None) -> None:
        self._link = Link(endpoint, deadline)
        self.server = endpoint.url
        self.vms = VmCalls(self._link)
        self.hosts = HostCalls(self._link)
        self.images = ImageCalls(self._link)
        self.projects = ProjectCalls(self._link)
        self.tokens = TokenCalls(self._link)
        self.audit = AuditCalls(self._link)

    def close(self) -> None:
        """Closes the connection, and ends what stands on it: calls, watches, tables."""
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def list_vms(self, filter: v1.VmFilter | None = None) -> VmList:
        """Reads all pages, at one revision; starts over once if the server forgets it in between."""
        try:
            return self._pages(filter)
        except BangerError as error:
            if not page_token_lost(error):
                raise
            return self._pages(filter)

    def _pages(self, filter: v1.VmFilter | None) -> VmList:
        vms: list[v1.Vm] = []
        request = v1.ListVmsRequest(page_size=_PAGE, filter=filter)
        while True:
            page = self.vms.list_vms(request)
            vms.extend(page.vms)
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return VmList(vms, page.revision)

    def watch_vms(
        self, filter: v1.VmFilter | None = None, *, after: VmList | None = None
    ) -> Iterator[Update[v1.Vm]]:
        """The state now and then every change, resuming by itself; after a list, what comes then."""
        told = ToldVms(after)
        return follow(
            Call("WatchVms", changes=False),
            lambda: self.vms.watch_vms(watch_request(told.begin(), filter)),
            told,
            self._link.closed,
        )

    def watch_hosts(self) -> Iterator[Update[v1.Host]]:
        """As watch_vms, of hosts."""
        told = ToldHosts()

        def opened() -> Stream[v1.WatchHostsResponse]:
            told.begin()
            return self.hosts.watch_hosts(v1.WatchHostsRequest())

        return follow(Call("WatchHosts", changes=False), opened, told, self._link.closed)

    def vm_table(
        self, filter: v1.VmFilter | None = None, *, wake: Callable[[], object] | None = None
    ) -> LiveTable[v1.Vm]:
        """A table of all VMs that match, kept by a thread until the client is closed."""
        return LiveTable(self.watch_vms(filter), wake)

    def host_table(self, *, wake: Callable[[], object] | None = None) -> LiveTable[v1.Host]:
        """As vm_table, of hosts."""
        return LiveTable(self.watch_hosts(), wake)

    def wait_vm(
        self,
        vm: str,
        timeout: float,
        *,
        state: v1.VmState = v1.VmState.VM_STATE_UNSPECIFIED,
        generation: int = 0,
        guest_ready: bool = False,
    ) -> Waited:
        """Waits for a state, the one that is wanted of the VM if none is named."""
        waiting = Waiting(vm, state, generation, guest_ready, time.monotonic() + timeout)
        while True:
            request, step = waiting.request(time.monotonic())
            try:
                answer = self.vms.wait_vm(request, timeout=step + SLACK)
                end: Waited | float | None = waiting.answered(answer, time.monotonic())
            except BangerError as error:
                end = waiting.failed(error, time.monotonic(), random.random())
            if isinstance(end, Waited):
                return end
            self._link.closed.wait(end or 0)

    def exec(
        self,
        vm: str,
        command: Iterable[str],
        *,
        stdin: Iterable[bytes] = (),
        environment: Mapping[str, str] | None = None,
        directory: str = "",
        user: str = "",
        terminal: v1.TerminalSize | None = None,
    ) -> Iterator[guest.ExecEvent]:
        """Runs a program in the guest, without a shell; what it writes comes as events."""
        first = guest.start(vm, command, environment, directory, user, terminal)
        with self.vms.exec_vm(guest.fed(first, stdin)) as stream:
            for response in stream:
                event = guest.event(response)
                if event is not None:
                    yield event
                if isinstance(event, guest.Exited):
                    return
        raise guest.ended_early()

    def run(
        self,
        vm: str,
        command: Iterable[str],
        *,
        stdin: Iterable[bytes] = (),
        environment: Mapping[str, str] | None = None,
        directory: str = "",
        user: str = "",
        most_bytes: int = 16 * 1024 * 1024,
    ) -> guest.ExecResult:
        """Runs a program in the guest to its end, and answers all it wrote."""
        collected = guest.Collected(most_bytes)
        for event in self.exec(
            vm, command, stdin=stdin, environment=environment, directory=directory, user=user
        ):
            result = collected.take(event)
            if result is not None:
                return result
        raise guest.ended_early()

    def copy_to(
        self, vm: str, directory: str, tar: Iterable[bytes], *, own_name: str = ""
    ) -> v1.CopyToVmResponse:
        """Unpacks a tar stream in a directory of the guest, which must be there."""

        def sent() -> Iterator[v1.CopyToVmRequest]:
            yield v1.CopyToVmRequest(vm=vm, directory=directory, own_name=own_name)
            for data in tar:
                for part in guest.parts(data):
                    yield v1.CopyToVmRequest(data=part)

        return self.vms.copy_to_vm(sent())

    def copy_from(self, vm: str, path: str) -> Iterator[bytes]:
        """Packs a file or directory of the guest into a tar stream: the guest's word, to be unpacked
        with care."""
        with self.vms.copy_from_vm(v1.CopyFromVmRequest(vm=vm, path=path)) as stream:
            for response in stream:
                yield response.data


def page_token_lost(error: BangerError) -> bool:
    return error.is_(v1.ErrorReason.ERROR_REASON_PAGE_TOKEN_INVALID) or error.is_(
        v1.ErrorReason.ERROR_REASON_PAGE_TOKEN_EXPIRED
    )


def watch_request(after: int | None, filter: v1.VmFilter | None) -> v1.WatchVmsRequest:
    return v1.WatchVmsRequest(after_revision=after, filter=filter)
