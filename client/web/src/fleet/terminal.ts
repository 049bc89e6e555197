// What a guest prints, as plain lines: escapes are dropped, a carriage return and a backspace do what
// they do on a terminal. Whatever a guest sends stays text; nothing of it is ever markup.

const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[PX^_][^\u001b]*(?:\u001b\\)?|[ -/]*[0-~])/g;
const CONTROLS = /[\u0000-\u0007\u000b\u000c\u000e-\u001f\u007f-\u009f]/g;

export function plain(text: string): string {
  const clean = text.replace(ESCAPES, "").replace(/\r+\n/g, "\n").replace(CONTROLS, "");
  return clean.split("\n").map(overwrite).join("\n");
}

function overwrite(line: string): string {
  if (!line.includes("\r") && !line.includes("\b")) return line;
  const cells: string[] = [];
  let at = 0;
  for (const c of line) {
    if (c === "\r") at = 0;
    else if (c === "\b") at = Math.max(0, at - 1);
    else cells[at++] = c;
  }
  return cells.join("");
}

/** The newest of what came, within a bound, beginning with a whole line. */
export function keep(text: string, most: number): string {
  if (text.length <= most) return text;
  const cut = text.slice(-most);
  const line = cut.indexOf("\n");
  return line >= 0 ? cut.slice(line + 1) : cut;
}

/** What came and was not shown yet. A page that nobody looks at is drawn for nobody, for as long as that is. */
export class Unshown {
  #text = "";

  constructor(readonly most: number) {}

  add(text: string): void {
    this.#text = keep(this.#text + text, this.most);
  }

  take(): string {
    const text = this.#text;
    this.#text = "";
    return text;
  }
}
