#!/usr/bin/env python3
"""The life of a VM, driven by a client that has no generated code.

Everything it knows of the API it learns from the server by reflection, error details included.
Prints one JSON object a step, so that the test that runs it can compare, and exits non-zero with
a sentence when an answer is not what the API promises.

    client.py ADDRESS [--token TOKEN] [--kernel NAME] [--initrd NAME] [--root NAME] [--wait SECONDS]

The images of `make up` are its defaults, on real hosts and on simulated ones. A VM that it made is deleted again whatever happens.

Needs grpcio, grpcio-reflection and protobuf. Also a template for your own: copy `Api` and go.
"""

import argparse
import json
import sys
import uuid

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

# Seconds a single answer may take, and all that is waited for a VM if nothing else is said.
CALL = 20
WAIT = 60


class Api:
    """Calls of one server by name: `api.call("VmService", "GetVm", {"vm": "web"})`."""

    def __init__(self, address, token=None):
        self.channel = grpc.insecure_channel(address)
        self.metadata = [("authorization", f"Bearer {token}")] if token else []
        self.database = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = DescriptorPool(self.database)

    def services(self):
        return sorted(self.database.get_services())

    def message(self, name):
        """The class of a message, by its full name."""
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))

    def method(self, service, name):
        method = self.pool.FindServiceByName(f"banger.v1.{service}").FindMethodByName(name)
        request = message_factory.GetMessageClass(method.input_type)
        response = message_factory.GetMessageClass(method.output_type)
        path = f"/banger.v1.{service}/{name}"
        kind = self.channel.unary_stream if method.server_streaming else self.channel.unary_unary
        return request, kind(
            path,
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )

    def call(self, service, name, fields=None, timeout=CALL):
        request, call = self.method(service, name)
        message = json_format.ParseDict(fields or {}, request(), descriptor_pool=self.pool)
        return call(message, timeout=timeout, metadata=self.metadata)

    def details(self, error):
        """The details of an error by type name, decoded through reflection."""
        found = {}
        for key, value in error.trailing_metadata() or ():
            if key != "grpc-status-details-bin":
                continue
            status = self.message("google.rpc.Status").FromString(value)
            for packed in status.details:
                name = packed.type_url.rsplit("/", 1)[-1]
                detail = self.message(name).FromString(packed.value)
                found[name] = json_format.MessageToDict(detail, descriptor_pool=self.pool)
        return found


def state(vm):
    """The state of a VM without the prefix of its enum."""
    descriptor = vm.status.DESCRIPTOR.fields_by_name["state"].enum_type
    return descriptor.values_by_number[vm.status.state].name.removeprefix("VM_STATE_")


def event_type(event):
    descriptor = event.DESCRIPTOR.fields_by_name["type"].enum_type
    return descriptor.values_by_number[event.type].name.removeprefix("VM_EVENT_TYPE_")


def say(step, **facts):
    print(json.dumps({"step": step, **facts}), flush=True)


def check(condition, sentence):
    if not condition:
        sys.exit(f"client.py: {sentence}")


def refused(api, wanted, service, name, fields):
    """Makes a call that must fail with the code `wanted`, and answers its details."""
    try:
        api.call(service, name, fields)
    except grpc.RpcError as error:
        details = api.details(error)
        say(
            "refused",
            call=name,
            code=error.code().name,
            message=error.details(),
            details=details,
        )
        check(error.code().name == wanted, f"{name} answered {error.code().name}, not {wanted}")
        info = details.get("google.rpc.ErrorInfo", {})
        check(info.get("domain") == "banger", f"{name}: no ErrorInfo of banger in {details}")
        return details
    sys.exit(f"client.py: {name} succeeded and should have answered {wanted}")


class Watch:
    """One stream, read until what is looked for has been seen."""

    def __init__(self, api, after_revision, wait):
        self.stream = api.call(
            "VmService", "WatchVms", {"afterRevision": str(after_revision)}, timeout=wait
        )
        self.wait = wait
        self.last = after_revision

    def until(self, vm_id, wanted):
        """Reads on until `wanted(event)` holds for an event of the VM; answers the states seen."""
        seen = []
        try:
            for response in self.stream:
                for event in response.events:
                    check(
                        event.revision > self.last,
                        f"revision {event.revision} came after {self.last}",
                    )
                    self.last = event.revision
                    if event.vm.id != vm_id:
                        continue
                    seen.append(state(event.vm))
                    if wanted(event):
                        return seen
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.DEADLINE_EXCEEDED:
                raise
            return sys.exit(f"client.py: not within {self.wait} seconds; it was {seen} until then")
        return sys.exit(f"client.py: the stream ended after {seen}")


def live(api, watch, vm_id, wanted):
    """Everything that is done with one VM, from its create to its end."""
    created = api.call("VmService", "CreateVm", wanted)
    say("created", id=created.id, name=created.name, generation=created.generation)
    check(created.id == vm_id, f"the id chosen was {vm_id}, the VM has {created.id}")

    # The same request again answers the same VM; another spec under the same id does not.
    again = api.call("VmService", "CreateVm", wanted)
    check(again.generation == created.generation, "a repeated create changed the VM")
    refused(
        api,
        "ALREADY_EXISTS",
        "VmService",
        "CreateVm",
        {**wanted, "spec": {**wanted["spec"], "memoryMib": 256}},
    )

    seen = watch.until(vm_id, lambda event: state(event.vm) == "RUNNING")
    say("running", states=seen)

    # Every wrong field is named, not the first alone.
    details = refused(
        api,
        "INVALID_ARGUMENT",
        "VmService",
        "CreateVm",
        {"name": "Not/A/Label", "spec": {"vcpus": 999, "kernel": {"name": "../etc/passwd"}}},
    )
    fields = {v["field"] for v in details["google.rpc.BadRequest"]["fieldViolations"]}
    check(len(fields) >= 3, f"only {sorted(fields)} were named")

    refused(api, "NOT_FOUND", "VmService", "GetVm", {"vm": str(uuid.uuid4())})

    stopped = api.call("VmService", "StopVm", {"vm": vm_id, "gracePeriod": "1s"})
    check(stopped.generation > created.generation, "StopVm did not raise the generation")
    seen = watch.until(vm_id, lambda event: state(event.vm) == "STOPPED")
    say("stopped", states=seen)

    waited = api.call("VmService", "WaitVm", {"vm": vm_id, "timeout": "10s"})
    say("waited", outcome=waited.outcome)

    api.call("VmService", "DeleteVm", {"vm": vm_id})
    seen = watch.until(vm_id, lambda event: event_type(event) == "REMOVED")
    say("removed", states=seen)

    refused(api, "NOT_FOUND", "VmService", "GetVm", {"vm": vm_id})
    gone = api.call("VmService", "DeleteVm", {"vm": vm_id, "allowMissing": True})
    check(gone.id == "", "deleting what is gone answered a VM")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address")
    parser.add_argument("--token")
    # An image that carries its kernel needs no other; demo is one.
    parser.add_argument("--root", default="demo")
    parser.add_argument("--kernel")
    parser.add_argument("--initrd")
    parser.add_argument("--wait", type=float, default=WAIT)
    arguments = parser.parse_args()

    api = Api(arguments.address, arguments.token)
    services = api.services()
    say("services", services=services)
    for service in ("banger.v1.VmService", "banger.v1.HostService", "grpc.health.v1.Health"):
        check(service in services, f"reflection does not list {service}: {services}")

    # List, then watch from the list's revision: no gap between the two.
    revision = api.call("VmService", "ListVms").revision
    watch = Watch(api, revision, arguments.wait)

    vm_id = str(uuid.uuid4())
    wanted = {
        "id": vm_id,
        "name": f"py-{vm_id[:8]}",
        "spec": {
            "vcpus": 1,
            "memoryMib": 128,
            "rootImage": {"name": arguments.root},
            "rootDiskMib": 64,
            "labels": {"made-by": "python"},
        },
    }
    for field in ("kernel", "initrd"):
        if getattr(arguments, field):
            wanted["spec"][field] = {"name": getattr(arguments, field)}
    try:
        live(api, watch, vm_id, wanted)
    finally:
        # Gone already, if all went well.
        api.call("VmService", "DeleteVm", {"vm": vm_id, "allowMissing": True})
    say("done")


if __name__ == "__main__":
    main()
