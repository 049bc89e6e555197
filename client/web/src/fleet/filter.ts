// What somebody types to see some VMs, and the same as a test and as flags of the command.
//
//   state:failed,crashed  host:b0  app=web  tier!=test  is:attention  words of name, id, address, reason
//
// All terms have to hold. `key=value` is a label. A term that means nothing yet (`state:fai`) is
// taken for what it begins, so that the list does not jump to nothing while somebody types.
import type { Vm, VmState } from "@banger/client/v1";

import { VM_STATE_BY_WORD, stateOf, vmLook } from "./states.ts";
import { isTrouble } from "./attention.ts";
import { quote } from "./commands.ts";

export interface Filter {
  readonly states: ReadonlySet<VmState>;
  readonly hosts: readonly string[];
  readonly labels: readonly { readonly key: string; readonly value: string; readonly not: boolean }[];
  readonly words: readonly string[];
  readonly attention: boolean;
}

export function parseFilter(text: string): Filter {
  const states = new Set<VmState>();
  const hosts: string[] = [];
  const labels: Filter["labels"][number][] = [];
  const words: string[] = [];
  let attention = false;
  for (const term of text.trim().split(/\s+/).filter(Boolean)) {
    const lower = term.toLowerCase();
    if (lower.startsWith("state:")) {
      for (const word of lower.slice(6).split(",").filter(Boolean)) {
        for (const [name, state] of VM_STATE_BY_WORD) if (name.startsWith(word)) states.add(state);
      }
    } else if (lower.startsWith("host:")) {
      hosts.push(...lower.slice(5).split(",").filter(Boolean));
    } else if (lower === "is:attention") {
      attention = true;
    } else if (/^[^=!]+!=/.test(term)) {
      const at = term.indexOf("!=");
      labels.push({ key: term.slice(0, at), value: term.slice(at + 2), not: true });
    } else if (/^[^=]+=/.test(term)) {
      const at = term.indexOf("=");
      labels.push({ key: term.slice(0, at), value: term.slice(at + 1), not: false });
    } else {
      words.push(lower);
    }
  }
  return { states, hosts, labels, words, attention };
}

export function matches(filter: Filter, vm: Vm): boolean {
  if (filter.states.size > 0 && !filter.states.has(stateOf(vm))) return false;
  if (filter.attention && !isTrouble(vm)) return false;
  if (filter.hosts.length > 0) {
    const { hostName = "", hostId = "" } = vm.status ?? {};
    if (!filter.hosts.some((host) => hostName === host || hostId === host)) return false;
  }
  for (const { key, value, not } of filter.labels) {
    if ((vm.spec?.labels[key] === value) === not) return false;
  }
  for (const word of filter.words) {
    const { status } = vm;
    const found =
      vm.name.includes(word) ||
      vm.id.startsWith(word) ||
      (status !== undefined &&
        (status.hostName.includes(word) ||
          status.guestAddress.startsWith(word) ||
          status.reason.toLowerCase().includes(word)));
    if (!found) return false;
  }
  return true;
}

/** The text with a state added, or taken away if it is there alone or among others. */
export function toggleState(text: string, state: VmState): string {
  const word = vmLook(state).word.toLowerCase();
  const terms = text.trim().split(/\s+/).filter(Boolean);
  const others = terms.filter((term) => !term.toLowerCase().startsWith("state:"));
  const chosen = [...parseFilter(text).states].map((one) => vmLook(one).word.toLowerCase());
  const now = chosen.includes(word) ? chosen.filter((one) => one !== word) : [...chosen, word];
  return [...others, ...(now.length > 0 ? [`state:${now.join(",")}`] : [])].join(" ");
}

/** What the command lists for the same; words and `is:attention` have no flag. */
export function listLine(filter: Filter): string {
  const parts = ["banger vm ls"];
  const selector = filter.labels.map(({ key, value, not }) => `${key}${not ? "!=" : "="}${value}`).join(",");
  if (selector) parts.push("-l", quote(selector));
  for (const host of filter.hosts.slice(0, 1)) parts.push("--host", quote(host));
  if (filter.states.size > 0) parts.push("--state", [...filter.states].map((one) => vmLook(one).word.toLowerCase()).join(","));
  if (filter.words[0] !== undefined) parts.push("|", "grep", "--", quote(filter.words[0]));
  return parts.join(" ");
}
