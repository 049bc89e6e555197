// What the tests are made of: VMs and hosts with the few fields that matter to them.
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { HostSchema, VmSchema, VmState, VmStatusSchema, type Host, type Vm } from "@banger/client/v1";

type Status = Omit<MessageInitShape<typeof VmStatusSchema>, "$typeName">;
type More = Omit<MessageInitShape<typeof VmSchema>, "$typeName" | "status"> & { status?: Status };

/** A VM on host b0, in this state. */
export function vm(name: string, state: VmState = VmState.RUNNING, { status, ...rest }: More = {}): Vm {
  return create(VmSchema, { id: `id-${name}`, name, spec: {}, ...rest, status: { state, hostName: "b0", hostId: "id-b0", ...status } });
}

export const host = (name: string, more: MessageInitShape<typeof HostSchema> = {}): Host => create(HostSchema, { id: `id-${name}`, name, ...more });

export const byId = (vms: readonly Vm[]): Map<string, Vm> => new Map(vms.map((one) => [one.id, one]));
