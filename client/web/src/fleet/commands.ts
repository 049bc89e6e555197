// The `banger` line that does what a button does. What is typed there goes through a shell, so that
// every name is quoted.

/** As a shell takes it for one word. */
export function quote(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

export const line = (...words: readonly string[]): string => ["banger", ...words.map(quote)].join(" ");

/** What makes a host join, as `banger host token` prints it. The first line ends where an option can be added. */
export function joinLines(server: string, token: string, name: string): string {
  return `echo ${quote(token)} | banger-agent join --server ${quote(server)} --token-file -${name ? ` --name ${quote(name)}` : ""}\nsystemctl restart banger-agent`;
}

/** What can be wanted of VMs. */
export type VmVerb = "start" | "stop" | "reboot" | "pause" | "resume" | "rm";

export interface VmOptions {
  /** Of stop and reboot: how long the guest may take, in seconds; not set is the server's default. */
  readonly graceSeconds?: number | undefined;
  /** Of reboot. */
  readonly resetRootDisk?: boolean | undefined;
}

export function vmLine(verb: VmVerb, names: readonly string[], options: VmOptions = {}): string {
  const flags: string[] = [];
  if (options.graceSeconds === 0 && verb === "stop") flags.push("--force");
  else if (options.graceSeconds !== undefined) flags.push("--grace", `${options.graceSeconds}s`);
  if (options.resetRootDisk) flags.push("--reset-root-disk");
  if (verb === "rm" || verb === "reboot") flags.push("--yes");
  return line("vm", verb, ...names, ...flags);
}

export interface NewVm {
  readonly name: string;
  readonly kernel: string;
  readonly initrd: string;
  readonly root: string;
  readonly vcpus: number;
  readonly memoryMib: number;
  readonly diskMib: number;
  readonly nat: boolean;
  readonly restart: "never" | "on-failure" | "always";
  readonly host: string;
  readonly labels: Readonly<Record<string, string>>;
}

export function createLine(vm: NewVm): string {
  const words = ["vm", "create"];
  if (vm.name) words.push(vm.name);
  words.push("--kernel", vm.kernel || "KERNEL", ...(vm.initrd ? ["--initrd", vm.initrd] : []), "--root", vm.root || "ROOT");
  words.push("--vcpus", String(vm.vcpus), "--memory", `${vm.memoryMib}M`, "--disk", `${vm.diskMib}M`);
  if (!vm.nat) words.push("--no-nat");
  if (vm.restart !== "never") words.push("--restart", vm.restart);
  if (vm.host) words.push("--host", vm.host);
  for (const [key, value] of Object.entries(vm.labels)) words.push("--label", `${key}=${value}`);
  return line(...words);
}

/** `key=value` words to labels; what is no such word is given back as wrong. */
export function parseLabels(text: string): { labels: Record<string, string>; wrong: string[] } {
  const labels: Record<string, string> = {};
  const wrong: string[] = [];
  for (const word of text.split(/[\s,]+/).filter(Boolean)) {
    const at = word.indexOf("=");
    if (at > 0) labels[word.slice(0, at)] = word.slice(at + 1);
    else wrong.push(word);
  }
  return { labels, wrong };
}

/** Words as a shell would make them of a line: white space separates, quotes hold together. */
export function words(text: string): string[] {
  const found: string[] = [];
  for (const match of text.matchAll(/(?:[^\s"']+|"[^"]*"|'[^']*')+/g)) {
    found.push(match[0].replace(/"([^"]*)"|'([^']*)'/g, (_, double?: string, single?: string) => double ?? single ?? ""));
  }
  return found;
}
