// What can be done: each action says what it does, shows the line of the command that does the same,
// and is done when somebody says so. One dialog asks for all of them.
import { DesiredState, VmState, type Host, type Image, type Vm } from "@banger/client/v1";

import { line, vmLine, type VmOptions, type VmVerb } from "./fleet/commands.ts";
import { stateOf } from "./fleet/states.ts";
import { banger, sentence, session } from "./session.svelte.ts";

export interface Choice {
  readonly key: string;
  readonly label: string;
  readonly kind: "flag" | "seconds";
}

export type Answers = Readonly<Record<string, boolean | number | undefined>>;

export interface Action {
  readonly title: string;
  readonly effect: string;
  readonly verb: string;
  readonly danger: boolean;
  readonly choices: readonly Choice[];
  readonly line: (answers: Answers) => string;
  readonly run: (answers: Answers) => Promise<string>;
}

interface Note {
  readonly key: number;
  readonly text: string;
  readonly bad: boolean;
}

class Actions {
  /** What is being asked for. */
  asked = $state.raw<Action | null>(null);
  busy = $state(false);
  failure = $state<string | null>(null);
  notes = $state.raw<readonly Note[]>([]);
  #keys = 0;

  ask(action: Action): void {
    this.failure = null;
    this.asked = action;
  }

  close(): void {
    if (!this.busy) this.asked = null;
  }

  async run(answers: Answers): Promise<void> {
    const action = this.asked;
    if (!action || this.busy) return;
    this.busy = true;
    this.failure = null;
    try {
      const told = await action.run(answers);
      this.asked = null;
      if (told) this.note(told);
    } catch (error) {
      session.refused(error);
      this.failure = sentence(error);
    } finally {
      this.busy = false;
    }
  }

  note(text: string, bad = false): void {
    const note = { key: ++this.#keys, text, bad };
    this.notes = [...this.notes, note];
    setTimeout(() => (this.notes = this.notes.filter(({ key }) => key !== note.key)), bad ? 12_000 : 5_000);
  }
}

export const actions = new Actions();

const DO: Record<VmVerb, { title: string; verb: string; effect: string; danger: boolean; choices: Choice[] }> = {
  start: { title: "Start", verb: "Start", effect: "Wants it running.", danger: false, choices: [] },
  stop: {
    title: "Stop",
    verb: "Stop",
    effect: "Asks the guest to shut down, and ends it at the deadline. Its disks stay.",
    danger: false,
    choices: [{ key: "grace", label: "The guest may take (seconds; 0 ends it at once)", kind: "seconds" }],
  },
  reboot: {
    title: "Reboot",
    verb: "Reboot",
    effect: "Stops it and starts it once.",
    danger: true,
    choices: [{ key: "reset", label: "Give it a new root disk: what the guest wrote there is lost", kind: "flag" }],
  },
  pause: { title: "Pause", verb: "Pause", effect: "Stops its vCPUs; its memory stays.", danger: false, choices: [] },
  resume: { title: "Resume", verb: "Resume", effect: "Lets its vCPUs run again.", danger: false, choices: [] },
  rm: { title: "Delete", verb: "Delete", effect: "Nothing of it is left, its disks included. This cannot be undone.", danger: true, choices: [] },
};

/** What may be wanted of a VM as it is. */
export function verbsOf(vm: Vm): VmVerb[] {
  const state = stateOf(vm);
  if (vm.desiredState === DesiredState.ABSENT) return [];
  const ended = state === VmState.CRASHED || state === VmState.STOPPED;
  const verbs: VmVerb[] = [];
  if (vm.desiredState === DesiredState.STOPPED || ended) verbs.push("start");
  if (vm.desiredState !== DesiredState.STOPPED) verbs.push("stop");
  if (vm.desiredState === DesiredState.RUNNING && !ended) verbs.push("reboot");
  if (vm.desiredState === DesiredState.RUNNING && state === VmState.RUNNING) verbs.push("pause");
  if (vm.desiredState === DesiredState.PAUSED) verbs.push("resume");
  verbs.push("rm");
  return verbs;
}

export const verbWord = (verb: VmVerb): string => DO[verb].title;

export function vmAction(verb: VmVerb, chosen: readonly Vm[]): Action {
  const { title, effect, danger, choices, verb: word } = DO[verb];
  const names = chosen.map((vm) => vm.name);
  const what = names.length === 1 ? `VM ${names[0]}` : `${names.length} VMs`;
  const options = (answers: Answers): VmOptions => ({
    graceSeconds: typeof answers["grace"] === "number" ? answers["grace"] : undefined,
    resetRootDisk: answers["reset"] === true,
  });
  return {
    title: `${title} ${what}`,
    effect: names.length === 1 ? effect : `${effect} ${names.slice(0, 8).join(", ")}${names.length > 8 ? " …" : ""}`,
    verb: word,
    danger,
    choices,
    line: (answers) => vmLine(verb, names, options(answers)),
    run: async (answers) => {
      const failed: string[] = [];
      // A few at a time: a browser has six connections to a server.
      const waiting = [...chosen];
      const one = async () => {
        for (let vm = waiting.shift(); vm; vm = waiting.shift()) {
          try {
            await change(verb, vm, options(answers));
          } catch (error) {
            session.refused(error);
            failed.push(`${vm.name}: ${sentence(error)}`);
          }
        }
      };
      await Promise.all([one(), one()]);
      if (failed.length > 0) throw new Error(failed.slice(0, 5).join("\n"));
      return `${title}: ${what}. The intent is durable; the host is at work.`;
    },
  };
}

async function change(verb: VmVerb, vm: Vm, options: VmOptions): Promise<void> {
  const request = { vm: vm.id };
  const gracePeriod = options.graceSeconds === undefined ? {} : { gracePeriod: { seconds: BigInt(Math.floor(options.graceSeconds)), nanos: 0 } };
  switch (verb) {
    case "start":
      await banger.vms.startVm(request);
      break;
    case "stop":
      await banger.vms.stopVm({ ...request, ...gracePeriod });
      break;
    case "reboot":
      await banger.vms.rebootVm({ ...request, ...gracePeriod, resetRootDisk: options.resetRootDisk ?? false });
      break;
    case "pause":
      await banger.vms.pauseVm(request);
      break;
    case "resume":
      await banger.vms.resumeVm(request);
      break;
    case "rm":
      await banger.vms.deleteVm({ ...request, allowMissing: true });
      break;
  }
}

const simple = (title: string, effect: string, verb: string, words: string[], run: () => Promise<unknown>, danger = false): Action => ({
  title,
  effect,
  verb,
  danger,
  choices: [],
  line: () => line(...words),
  run: async () => {
    await run();
    return `${title}: done.`;
  },
});

export const cordon = (host: Host): Action =>
  simple(`Cordon host ${host.name}`, "No further VM is placed on it; those it has stay.", "Cordon", ["host", "cordon", host.name], () =>
    banger.hosts.cordonHost({ host: host.id }),
  );

export const uncordon = (host: Host): Action =>
  simple(`Uncordon host ${host.name}`, "VMs are placed on it again.", "Uncordon", ["host", "uncordon", host.name], () =>
    banger.hosts.uncordonHost({ host: host.id }),
  );

export const forgetHost = (host: Host): Action =>
  simple(
    `Forget host ${host.name}`,
    "It holds no VMs. Its agent is not dialled from then on; to come back it has to join again.",
    "Forget",
    ["host", "rm", host.name, "--yes"],
    () => banger.hosts.deleteHost({ host: host.id, allowMissing: true }),
    true,
  );

export const deleteImage = (image: Image): Action =>
  simple(
    `Delete image ${image.name}`,
    "Takes the name away; the content goes when no VM and no other name uses it.",
    "Delete",
    ["image", "rm", image.name, "--yes"],
    () => banger.images.deleteImage({ name: image.name, allowMissing: true }),
    true,
  );
