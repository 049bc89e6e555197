"""What the installed package offers, to somebody who has nothing else: imported, used, typed."""

import asyncio

import banger_client
from banger_client import BangerError, Kind, LiveTable, aio, v1


def names(table: LiveTable[v1.Vm]) -> list[str]:
    return sorted(vm.name for vm in table.rows().values())


with banger_client.connect("http://127.0.0.1:9", deadline=1) as client:
    try:
        client.vms.list_vms(v1.ListVmsRequest())
    except BangerError as error:
        assert error.kind is Kind.UNREACHABLE and not error.outcome_unknown, error
    table: LiveTable[v1.Vm] = client.vm_table()
    assert names(table) == [] and table.state == "loading"


async def nobody() -> v1.Vm:
    async with aio.connect("http://127.0.0.1:9", deadline=1) as client:
        return await client.vms.get_vm(v1.GetVmRequest(vm="web"))


try:
    asyncio.run(nobody())
except BangerError as error:
    assert error.call.name == "GetVm", error
print("the package can be imported and used")
