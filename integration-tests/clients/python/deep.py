#!/usr/bin/env python3
"""Reads every VM in every answer that has one, with the decoder that Python's protobuf brings.

    deep.py ADDRESS

Prints one JSON object: for each call, how deep the metadata of each VM nests, by name.
"""

import json
import sys

from client import CALL, Api


def depth(value):
    """Objects and lists within each other; the JSON form of a document."""
    if isinstance(value, dict):
        return 1 + max((depth(item) for item in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((depth(item) for item in value), default=0)
    return 0


def depths(vms):
    from google.protobuf import json_format

    return {vm.name: depth(json_format.MessageToDict(vm.spec.metadata)) for vm in vms}


def main():
    api = Api(sys.argv[1])
    request, list_vms = api.method("VmService", "ListVms")
    listed = list_vms(request(), timeout=CALL).vms
    request, watch_vms = api.method("VmService", "WatchVms")
    streamed = []
    for response in watch_vms(request(), timeout=CALL):
        streamed += [event.vm for event in response.events]
        if response.initial_state_complete:
            break
    read = {"ListVms": depths(listed), "WatchVms": depths(streamed)}

    def each(call, fields, vm_of):
        read[call] = depths(
            vm_of(api.call("VmService", call, {"vm": vm.id, **fields})) for vm in listed
        )

    each("GetVm", {}, lambda vm: vm)
    each("ExplainVm", {}, lambda answer: answer.vm)
    # It is in no state that is waited for: the answer comes when the time is over.
    each("WaitVm", {"state": "VM_STATE_RUNNING", "timeout": "0.1s"}, lambda answer: answer.vm)
    label = {"spec": {"labels": {"read": "deep"}}, "updateMask": "spec.labels"}
    each("UpdateVm", label, lambda vm: vm)
    print(json.dumps(read))


main()
