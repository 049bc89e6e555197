// A server that is a script: the built page, ten thousand VMs, and as many changes a second as asked
// for. What is measured against it is the page, not what a server in a debug build can do beside it.
import { readFileSync } from "node:fs";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname } from "node:path";

import { create, toBinary, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import { HostSchema, HostState, VmEventType, VmSchema, VmState, WatchHostsResponseSchema, WatchVmsResponseSchema, type Vm } from "@banger/client/v1";

const DIST = new URL("../../dist", import.meta.url).pathname;
const KINDS: Record<string, string> = { ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
const HOSTS = 40;
const EVERY_MS = 20;
const STATES = [VmState.RUNNING, VmState.RUNNING, VmState.RUNNING, VmState.STOPPING, VmState.STOPPED, VmState.STARTING];

export class Scripted {
  changes = 0;
  private readonly server: Server;

  private constructor(
    private readonly count: number,
    private readonly perSecond: number,
  ) {
    this.server = createServer((request, response) => {
      if (request.method !== "POST") this.file(request.url ?? "/", response);
      else if (request.url?.endsWith("/WatchVms")) this.vms(response);
      else if (request.url?.endsWith("/WatchHosts")) this.hosts(response);
      else response.writeHead(200, { "content-type": "application/grpc-web+proto", "grpc-status": "12" }).end();
    });
  }

  static async start(count: number, perSecond: number): Promise<Scripted> {
    const scripted = new Scripted(count, perSecond);
    await new Promise<void>((resolve) => scripted.server.listen(0, "127.0.0.1", resolve));
    return scripted;
  }

  get base(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private file(url: string, response: ServerResponse): void {
    const { pathname } = new URL(url, "http://x");
    const path = extname(pathname) ? pathname : "/index.html";
    response.writeHead(200, { "content-type": KINDS[extname(path)] ?? "text/html" }).end(readFileSync(DIST + path));
  }

  private vm(n: number, revision: number, state: VmState): Vm {
    const time = { seconds: BigInt(Math.floor(Date.now() / 1000)), nanos: 0 };
    return create(VmSchema, {
      id: `00000000-0000-7000-8000-${String(n).padStart(12, "0")}`,
      name: `vm-${n}`,
      revision: BigInt(revision),
      generation: 1n,
      createTime: time,
      spec: { vcpus: 2, memoryMib: 2048, kernel: { name: "kernel" }, rootImage: { name: "root" }, labels: { app: `app-${n % 20}`, turn: String(revision) } },
      status: { state, hostId: `host-${n % HOSTS}`, hostName: `b${n % HOSTS}`, guestAddress: `10.64.${n >> 8}.${n & 255}`, observedGeneration: 1n, stateSince: time, observedAt: time },
    });
  }

  private vms(response: ServerResponse): void {
    response.writeHead(200, { "content-type": "application/grpc-web+proto" });
    const event = (n: number, revision: number, type: VmEventType, state: VmState) => ({ type, revision: BigInt(revision), vm: this.vm(n, revision, state) });
    const page = 500;
    for (let from = 0; from < this.count; from += page) {
      const events = Array.from({ length: Math.min(page, this.count - from) }, (_, at) => event(from + at, from + at + 1, VmEventType.ADDED, VmState.RUNNING));
      const last = from + page >= this.count;
      send(response, WatchVmsResponseSchema, create(WatchVmsResponseSchema, { events, initialStateComplete: last, revision: last ? BigInt(this.count) : 0n }));
    }
    const began = performance.now();
    const first = this.changes;
    const timer = setInterval(() => {
      const due = first + Math.floor(((performance.now() - began) / 1000) * this.perSecond);
      const events = [];
      while (this.changes < due) {
        this.changes += 1;
        events.push(event((this.changes * 7919) % this.count, this.count + this.changes, VmEventType.MODIFIED, STATES[this.changes % STATES.length]!));
      }
      send(response, WatchVmsResponseSchema, create(WatchVmsResponseSchema, { events, revision: BigInt(this.count + this.changes) }));
    }, EVERY_MS);
    response.on("close", () => clearInterval(timer));
  }

  private hosts(response: ServerResponse): void {
    response.writeHead(200, { "content-type": "application/grpc-web+proto" });
    const hosts = Array.from({ length: HOSTS }, (_, n) =>
      create(HostSchema, {
        id: `host-${n}`,
        name: `b${n}`,
        status: { state: HostState.ONLINE, capacity: { vcpus: 128, memoryMib: 1_048_576n, diskMib: 4_194_304n }, booked: { vcpus: 2 * n, memoryMib: BigInt(20_000 * n), diskMib: 9000n } },
      }),
    );
    send(response, WatchHostsResponseSchema, create(WatchHostsResponseSchema, { hosts, initialStateComplete: true }));
  }
}

/** One message of a stream of gRPC-Web: a byte of flags, four of length, the message. */
function send<S extends DescMessage>(response: ServerResponse, schema: S, message: MessageShape<S>): void {
  const bytes = toBinary(schema, message);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(bytes.length, 1);
  response.write(Buffer.concat([head, bytes]));
}
