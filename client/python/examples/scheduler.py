#!/usr/bin/env python3
"""A scheduler: keeps COUNT VMs of an app, packed on the fullest hosts that have room, no two of the app
on one host.

    scheduler.py APP COUNT [--kernel NAME] [--root NAME]

What it knows is in two tables that the client keeps over broken connections and deaths of the server;
what it decides is in `plan`, which is pure. It acts only while both tables are current: a VM whose host
is lost is UNKNOWN, not gone, and is not made again elsewhere.
"""

import argparse
import threading
from collections.abc import Iterable
from dataclasses import dataclass

import banger_client
from banger_client import BangerError, NotInTime, v1

VCPUS, MEMORY_MIB = 1, 128


@dataclass(frozen=True)
class Create:
    name: str
    host: str


@dataclass(frozen=True)
class Delete:
    vm: str


def plan(
    app: str, count: int, vms: Iterable[v1.Vm], hosts: Iterable[v1.Host]
) -> list[Create | Delete]:
    """What to do so that there are `count` VMs of the app."""
    vms = list(vms)
    ours = {vm.name: vm for vm in vms if vm.spec.labels.get("app") == app}
    wanted = [f"{app}-{number}" for number in range(count)]
    actions: list[Create | Delete] = [
        Delete(vm.id)
        for name, vm in sorted(ours.items())
        if name not in wanted and vm.desired_state != v1.DesiredState.DESIRED_STATE_ABSENT
    ]
    taken = {vm.status.host_id for vm in ours.values()}
    free: list[tuple[int, str]] = []
    for host in hosts:
        there = [vm.spec for vm in vms if vm.status.host_id == host.id]
        memory = host.status.capacity.memory_mib - sum(spec.memory_mib for spec in there)
        vcpus = host.status.capacity.vcpus - sum(spec.vcpus for spec in there)
        usable = host.status.state == v1.HostState.HOST_STATE_ONLINE and not host.cordoned
        if usable and host.id not in taken and memory >= MEMORY_MIB and vcpus >= VCPUS:
            free.append((memory, host.name))
    missing = [name for name in wanted if name not in ours]
    # The fullest host first; as many as there are hosts for, and the rest when there are more.
    actions += [Create(name, host) for name, (_, host) in zip(missing, sorted(free))]
    return actions


def apply(client: banger_client.Client, app: str, action: Create | Delete, image: str) -> int:
    """Does it, and answers the revision at which it is seen."""
    if isinstance(action, Delete):
        request = v1.DeleteVmRequest(vm=action.vm, allow_missing=True)
        return client.vms.delete_vm(request).revision
    spec = v1.VmSpec(
        vcpus=VCPUS,
        memory_mib=MEMORY_MIB,
        root_image=v1.ImageRef(name=image),
        root_disk_mib=64,
        labels={"app": app},
        placement=v1.Placement(host=action.host),
    )
    return client.vms.create_vm(v1.CreateVmRequest(name=action.name, spec=spec)).revision


def run(client: banger_client.Client, app: str, count: int, image: str) -> None:
    wake = threading.Event()
    vms, hosts = client.vm_table(wake=wake.set), client.host_table(wake=wake.set)
    while vms.state != "ended" and hosts.state != "ended":
        wake.wait(timeout=5)
        wake.clear()
        if vms.state != "current" or hosts.state != "current":
            continue
        for action in plan(app, count, vms.rows().values(), hosts.rows().values()):
            try:
                print(action, flush=True)
                revision = apply(client, app, action, image)
                # The next plan is made of what this one has done.
                vms.wait(lambda table: table.revision >= revision, timeout=10)
            except (BangerError, NotInTime) as error:
                # Whatever became of it, the tables will say; then it is decided anew.
                print(error, flush=True)
                break
    raise vms.error or hosts.error or SystemExit("the client was closed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("app")
    parser.add_argument("count", type=int)
    parser.add_argument("--image", default="demo", help="a root file system that brings its kernel")
    arguments = parser.parse_args()
    with banger_client.connect() as client:
        run(client, arguments.app, arguments.count, arguments.image)


if __name__ == "__main__":
    main()
