"""The client of one server for asyncio: the same as `banger_client.client`, awaited."""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import Self

from . import guest
from ._aio_link import AioLink, AioStream
from ._gen import v1
from ._gen.aio_calls import (
    AioAuditCalls,
    AioHostCalls,
    AioImageCalls,
    AioProjectCalls,
    AioTokenCalls,
    AioVmCalls,
)
from ._method import Call
from .client import page_token_lost, watch_request
from .contexts import Endpoint, resolve
from .errors import BangerError
from .table import AioTable
from .told import ToldHosts, ToldVms, Update, VmList
from .wait import SLACK, Waited, Waiting
from .watch import aio_follow

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
) -> "AioClient":
    """As banger_client.connect; to be called where a loop runs."""
    endpoint = resolve(
        server,
        context=context,
        ca=ca,
        token=token,
        token_file=token_file,
        insecure_plaintext=insecure_plaintext,
    )
    return AioClient(endpoint, deadline=deadline)


class AioClient:
    def __init__(self, endpoint: Endpoint, *, deadline: float | None = None) -> None:
        self._link = AioLink(endpoint, deadline)
        self.server = endpoint.url
        self.vms = AioVmCalls(self._link)
        self.hosts = AioHostCalls(self._link)
        self.images = AioImageCalls(self._link)
        self.projects = AioProjectCalls(self._link)
        self.tokens = AioTokenCalls(self._link)
        self.audit = AioAuditCalls(self._link)

    async def close(self) -> None:
        """Closes the connection; calls that are under way end with it."""
        await self._link.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.close()

    async def list_vms(self, filter: v1.VmFilter | None = None) -> VmList:
        """Reads all pages, at one revision; starts over once if the server forgets it in between."""
        try:
            return await self._pages(filter)
        except BangerError as error:
            if not page_token_lost(error):
                raise
            return await self._pages(filter)

    async def _pages(self, filter: v1.VmFilter | None) -> VmList:
        vms: list[v1.Vm] = []
        request = v1.ListVmsRequest(page_size=_PAGE, filter=filter)
        while True:
            page = await self.vms.list_vms(request)
            vms.extend(page.vms)
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return VmList(vms, page.revision)

    def watch_vms(
        self, filter: v1.VmFilter | None = None, *, after: VmList | None = None
    ) -> AsyncIterator[Update[v1.Vm]]:
        """The state now and then every change, resuming by itself; after a list, what comes then."""
        told = ToldVms(after)
        return aio_follow(
            Call("WatchVms", changes=False),
            lambda: self.vms.watch_vms(watch_request(told.begin(), filter)),
            told,
        )

    def watch_hosts(self) -> AsyncIterator[Update[v1.Host]]:
        """As watch_vms, of hosts."""
        told = ToldHosts()

        def opened() -> AioStream[v1.WatchHostsResponse]:
            told.begin()
            return self.hosts.watch_hosts(v1.WatchHostsRequest())

        return aio_follow(Call("WatchHosts", changes=False), opened, told)

    def vm_table(self, filter: v1.VmFilter | None = None) -> AioTable[v1.Vm]:
        """A table of all VMs that match, kept by a task within `async with`."""
        return AioTable(self.watch_vms(filter))

    def host_table(self) -> AioTable[v1.Host]:
        """As vm_table, of hosts."""
        return AioTable(self.watch_hosts())

    async def wait_vm(
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
                answer = await self.vms.wait_vm(request, timeout=step + SLACK)
                end: Waited | float | None = waiting.answered(answer, time.monotonic())
            except BangerError as error:
                end = waiting.failed(error, time.monotonic(), random.random())
            if isinstance(end, Waited):
                return end
            await asyncio.sleep(end or 0)

    async def exec(
        self,
        vm: str,
        command: Iterable[str],
        *,
        stdin: AsyncIterable[bytes] | Iterable[bytes] = (),
        environment: Mapping[str, str] | None = None,
        directory: str = "",
        user: str = "",
        terminal: v1.TerminalSize | None = None,
    ) -> AsyncIterator[guest.ExecEvent]:
        """Runs a program in the guest, without a shell; what it writes comes as events."""
        first = guest.start(vm, command, environment, directory, user, terminal)
        async with self.vms.exec_vm(guest.aio_fed(first, stdin)) as stream:
            async for response in stream:
                event = guest.event(response)
                if event is not None:
                    yield event
                if isinstance(event, guest.Exited):
                    return
        raise guest.ended_early()

    async def run(
        self,
        vm: str,
        command: Iterable[str],
        *,
        stdin: AsyncIterable[bytes] | Iterable[bytes] = (),
        environment: Mapping[str, str] | None = None,
        directory: str = "",
        user: str = "",
        most_bytes: int = 16 * 1024 * 1024,
    ) -> guest.ExecResult:
        """Runs a program in the guest to its end, and answers all it wrote."""
        collected = guest.Collected(most_bytes)
        async for event in self.exec(
            vm, command, stdin=stdin, environment=environment, directory=directory, user=user
        ):
            result = collected.take(event)
            if result is not None:
                return result
        raise guest.ended_early()

    async def copy_to(
        self,
        vm: str,
        directory: str,
        tar: AsyncIterable[bytes] | Iterable[bytes],
        *,
        own_name: str = "",
    ) -> v1.CopyToVmResponse:
        """Unpacks a tar stream in a directory of the guest, which must be there."""

        async def sent() -> AsyncIterator[v1.CopyToVmRequest]:
            yield v1.CopyToVmRequest(vm=vm, directory=directory, own_name=own_name)
            async for data in guest.each(tar):
                for part in guest.parts(data):
                    yield v1.CopyToVmRequest(data=part)

        return await self.vms.copy_to_vm(sent())

    async def copy_from(self, vm: str, path: str) -> AsyncIterator[bytes]:
        """Packs a file or directory of the guest into a tar stream: the guest's word, to be unpacked
        with care."""
        async with self.vms.copy_from_vm(v1.CopyFromVmRequest(vm=vm, path=path)) as stream:
            async for response in stream:
                yield response.data
