"""The example scheduler: what it decides, and its life with real programs whose server dies."""

import os
import subprocess
import sys
import unittest
from pathlib import Path

import banger_client
from banger_client import v1

from .dev import Dev, until

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))

from scheduler import Create, Delete, plan  # noqa: E402

ONLINE = v1.HostState.HOST_STATE_ONLINE


def host(name: str, memory: int = 1024, state: v1.HostState = ONLINE, cordoned: bool = False) -> v1.Host:
    capacity = v1.HostResources(vcpus=4, memory_mib=memory)
    status = v1.HostStatus(state=state, capacity=capacity)
    return v1.Host(id=f"id-{name}", name=name, status=status, cordoned=cordoned)


def vm(name: str, on: str, app: str, memory: int = 128) -> v1.Vm:
    spec = v1.VmSpec(vcpus=1, memory_mib=memory, labels={"app": app})
    return v1.Vm(id=name, name=name, spec=spec, status=v1.VmStatus(host_id=f"id-{on}"))


class Plan(unittest.TestCase):
    def test_the_fullest_host_with_room_is_filled_first(self) -> None:
        vms = [vm("x", "b1", "other", 512), vm("y", "b2", "other", 1000)]
        actions = plan("web", 1, vms, [host("b0"), host("b1"), host("b2")])
        self.assertEqual(actions, [Create("web-0", "b1")])

    def test_no_host_gets_two_of_an_app_and_who_finds_none_waits(self) -> None:
        actions = plan("web", 3, [vm("web-1", "b0", "web")], [host("b0"), host("b1")])
        self.assertEqual(actions, [Create("web-0", "b1")])

    def test_hosts_that_are_lost_or_cordoned_get_nothing(self) -> None:
        lost = host("b0", state=v1.HostState.HOST_STATE_OFFLINE)
        self.assertEqual(plan("web", 2, [], [lost, host("b1", cordoned=True)]), [])

    def test_a_vm_that_is_unknown_is_not_made_again(self) -> None:
        unknown = vm("web-0", "b0", "web")
        unknown.status.state = v1.VmState.VM_STATE_UNKNOWN
        self.assertEqual(plan("web", 1, [unknown], [host("b0"), host("b1")]), [])

    def test_what_is_too_many_goes_and_nothing_of_others(self) -> None:
        vms = [vm("web-0", "b0", "web"), vm("web-7", "b1", "web"), vm("x", "b1", "other")]
        self.assertEqual(plan("web", 1, vms, [host("b0"), host("b1")]), [Delete("web-7")])


@unittest.skipUnless("BANGER_PROGRAMS" in os.environ, "needs the programs: BANGER_PROGRAMS")
class Life(unittest.TestCase):
    def test_a_scheduler_keeps_its_vms_through_deaths_of_the_server(self) -> None:
        with Dev(hosts=3) as dev, banger_client.connect(dev.server) as client:
            command = [sys.executable, str(EXAMPLES / "scheduler.py"), "web", "3"]
            source = str(EXAMPLES.parent / "src")
            env = {**dev.env, "PYTHONPATH": os.environ.get("PYTHONPATH", source)}
            scheduler = subprocess.Popen(command, env=env)
            try:
                self._lives(dev, client)
                self.assertIsNone(scheduler.poll(), "the scheduler ended")
            finally:
                scheduler.kill()
                scheduler.wait()

    def _lives(self, dev: Dev, client: banger_client.Client) -> None:
        def running() -> dict[str, tuple[str, str]]:
            try:
                vms = client.list_vms().vms
            except banger_client.BangerError:
                return {}
            state = v1.VmState.VM_STATE_RUNNING
            return {v.name: (v.id, v.status.host_id) for v in vms if v.status.state == state}

        def spread(vms: dict[str, tuple[str, str]]) -> bool:
            return len(vms) == 3 and len({on for _, on in vms.values()}) == 3

        before = until("three VMs on three hosts", 60, running, spread)
        for name in ("web-0", "web-1"):
            dev.kill_server()
            dev.start_server()
            # One goes while the scheduler is finding its way back.
            gone = before[name][0]
            until("the server is back", 60, running, lambda vms: name in vms)
            client.vms.delete_vm(v1.DeleteVmRequest(vm=gone))
            before = until(
                f"another {name}",
                60,
                running,
                lambda vms: spread(vms) and vms[name][0] != gone,
            )


if __name__ == "__main__":
    unittest.main()
