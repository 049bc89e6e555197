// Light, dark, or as the system says; kept for this browser.
const KEY = "banger-theme";
const TURN = { system: "light", light: "dark", dark: "system" } as const;
type Choice = keyof typeof TURN;

class Theme {
  choice = $state<Choice>("system");
  readonly word = $derived({ system: "As the system", light: "Light", dark: "Dark" }[this.choice]);
  readonly mark = $derived({ system: "◐", light: "○", dark: "●" }[this.choice]);

  start(): void {
    const kept = localStorage.getItem(KEY);
    if (kept === "light" || kept === "dark") this.#take(kept);
  }

  turn(): void {
    this.#take(TURN[this.choice]);
    localStorage.setItem(KEY, this.choice);
  }

  #take(choice: Choice): void {
    this.choice = choice;
    if (choice === "system") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = choice;
  }
}

export const theme = new Theme();
