// Waiting for a state of a VM, over broken connections and restarts of the server.
//
// The server does the waiting (WaitVm); this side asks again when an answer says "not yet", or when
// the connection breaks, until the caller's own time is over. Id and generation are fixed by the
// first answer, so that a VM deleted and made anew under the same name is not taken for the one that
// was meant.

import { durationFromMs } from "@bufbuild/protobuf/wkt";
import type { Client as Calls } from "@connectrpc/connect";

import { Backoff, pause } from "./backoff.js";
import { BangerError, bangerError } from "./error.js";
import { type Vm, type VmService, VmState, WaitOutcome } from "./gen/banger/v1/vm_pb.js";

export interface WaitFor {
    /** Id or name. */
    vm: string;
    /** Not set: the state that is wanted of the VM. */
    state?: VmState | undefined;
    /** The generation that must be reached; not set: the present one. */
    generation?: bigint | undefined;
    /** Whether the guest agent must have said that the guest is ready, too. */
    guestReady?: boolean | undefined;
    /** How long in all. */
    timeoutMs: number;
    signal?: AbortSignal | undefined;
}

export interface Waited {
    readonly outcome: WaitOutcome;
    /** The VM as it was then; undefined when it was gone before the wait began. */
    readonly vm: Vm | undefined;
}

/** The longest that one call asks the server to wait. */
const LONGEST_STEP_MS = 300_000;
/** What the answer may take beyond the time that the server waits. */
const SLACK_MS = 10_000;

/** A state that is not reached is no error: see `outcome`. */
export async function waitVm(calls: Calls<typeof VmService>, wanted: WaitFor): Promise<Waited> {
    const until = Date.now() + wanted.timeoutMs;
    const backoff = new Backoff();
    const { state = VmState.UNSPECIFIED, guestReady = false, signal } = wanted;
    let { vm: name, generation = 0n } = wanted;
    let vm: Vm | undefined;
    for (;;) {
        const step = Math.max(Math.min(until - Date.now(), LONGEST_STEP_MS), 0);
        try {
            const answer = await calls.waitVm(
                { vm: name, state, generation, timeout: durationFromMs(step), guestReady },
                { timeoutMs: step + SLACK_MS, ...(signal === undefined ? {} : { signal }) },
            );
            backoff.reset();
            if (answer.vm !== undefined) {
                vm = answer.vm;
                name = vm.id;
                if (generation === 0n) generation = vm.generation;
            }
            if (answer.outcome !== WaitOutcome.TIMEOUT || Date.now() >= until) {
                return { outcome: answer.outcome, vm };
            }
        } catch (thrown) {
            const error: BangerError = bangerError(thrown, { name: "WaitVm", changes: false });
            // Gone is what was waited for.
            if (state === VmState.DELETED && error.is("VM_NOT_FOUND")) {
                return { outcome: WaitOutcome.REACHED, vm };
            }
            const wait = backoff.pauseMs();
            if (!error.isPassing || Date.now() + wait >= until) throw error;
            await pause(wait, signal);
        }
    }
}
