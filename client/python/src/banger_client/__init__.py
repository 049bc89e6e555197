"""The client of banger, the control plane for fleets of Firecracker microVMs.

    import banger_client
    from banger_client import v1

    with banger_client.connect() as client:  # the current context of the `banger` command
        for vm in client.list_vms().vms:
            print(vm.name, v1.VmState.Name(vm.status.state))

`banger_client.aio` is the same for asyncio. Read in this order: `client` is what a program holds,
`rule` says what is repeated and what is left unknown, `errors` what can go wrong, `told` and `watch`
how a stream is followed, `table` what is kept of it, `guest` how a guest is reached.
"""

from . import aio, v1
from .client import Client, connect
from .contexts import Endpoint, resolve
from .errors import BangerError, EndpointError, FieldProblem, Kind
from .guest import ExecResult, Exited, Started, Stderr, Stdout
from .table import LiveTable, NotInTime, Table
from .told import Bookmark, Change, Current, Reconnecting, Update, VmList
from .wait import Waited

__all__ = [
    "BangerError",
    "Bookmark",
    "Change",
    "Client",
    "Current",
    "Endpoint",
    "EndpointError",
    "ExecResult",
    "Exited",
    "FieldProblem",
    "Kind",
    "LiveTable",
    "NotInTime",
    "Reconnecting",
    "Started",
    "Stderr",
    "Stdout",
    "Table",
    "Update",
    "VmList",
    "Waited",
    "aio",
    "connect",
    "resolve",
    "v1",
]
