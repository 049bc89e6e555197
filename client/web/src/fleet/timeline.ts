// The history of a VM as rounds: a round begins with what somebody asked for and holds what the host
// did for it, each step as a bar that lasts until the next.
import type { VmHistoryEvent } from "@banger/client/v1";

import { millis } from "./format.ts";
import { VM_STATE_BY_WORD, vmLook, type Tone } from "./states.ts";

/** One step on the way, from when to when (ms). `until` is null for what lasts. */
export interface Step {
  readonly word: string;
  readonly tone: Tone;
  readonly from: number;
  readonly until: number | null;
}

export interface Round {
  readonly key: string;
  /** What began it, such as CREATED or STOP_REQUESTED; or a state that came by itself. */
  readonly title: string;
  readonly actor: string;
  readonly at: number;
  readonly steps: readonly Step[];
  readonly events: readonly VmHistoryEvent[];
  /** How long the host took until it rested, in ms; null while it is at work or where nothing was done. */
  readonly tookMs: number | null;
  /** How often in a row: a host that tries again says the same each time. */
  readonly times: number;
}

const BEGINS = new Set(["CREATED", "UPDATED", "START_REQUESTED", "STOP_REQUESTED", "PAUSE_REQUESTED", "RESUME_REQUESTED", "REBOOT_REQUESTED", "DELETE_REQUESTED", "EXEC"]);
const MOVING = new Set<Tone>(["busy", "wait"]);

/** Newest first. */
export function rounds(events: readonly VmHistoryEvent[]): Round[] {
  const groups: VmHistoryEvent[][] = [];
  for (const event of events) {
    const group = groups.at(-1);
    if (!group || BEGINS.has(event.type) || spontaneous(group, event)) groups.push([event]);
    else group.push(event);
  }
  const found: Round[] = [];
  groups.forEach((group, at) => {
    const next = round(group, groups[at + 1]?.[0]);
    const last = found.at(-1);
    if (last && repeats(last, next)) found[found.length - 1] = { ...next, times: last.times + 1 };
    else found.push(next);
  });
  return found.reverse();
}

/** The same once more, by itself. */
function repeats(last: Round, next: Round): boolean {
  const [before] = last.events;
  const [event] = next.events;
  if (last.events.length > 1 || next.events.length > 1 || BEGINS.has(next.title)) return false;
  return before?.type === event?.type && before?.reason === event?.reason;
}

/** A state that comes long after the last round has come to rest belongs to nobody's request. */
function spontaneous(group: readonly VmHistoryEvent[], event: VmHistoryEvent): boolean {
  const last = group.at(-1);
  const tone = last && toneOf(last.type);
  if (!last || tone === null || tone === undefined || MOVING.has(tone)) return false;
  return (millis(event.time) ?? 0) - (millis(last.time) ?? 0) > 2000;
}

function toneOf(type: string): Tone | null {
  const state = VM_STATE_BY_WORD.get(type.toLowerCase());
  if (type === "DELETED") return "rest";
  return state === undefined ? null : vmLook(state).tone;
}

function round(group: readonly VmHistoryEvent[], next: VmHistoryEvent | undefined): Round {
  const first = group[0]!;
  const steps: Step[] = [];
  const told = group.flatMap((event) => {
    const tone = toneOf(event.type);
    return tone === null ? [] : [{ word: event.type, tone, from: millis(event.time) ?? 0 }];
  });
  told.forEach((step, at) => {
    const after = told[at + 1];
    steps.push({ ...step, until: after ? after.from : MOVING.has(step.tone) && next ? millis(next.time) : null });
  });
  const began = millis(first.time) ?? 0;
  const rest = steps.find((step) => !MOVING.has(step.tone));
  return {
    key: `${began}:${first.type}:${first.generation}`,
    title: first.type,
    actor: first.actor,
    at: began,
    steps,
    events: group,
    times: 1,
    tookMs: rest && BEGINS.has(first.type) ? rest.from - began : null,
  };
}
