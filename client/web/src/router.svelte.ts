// The address as state. Links are plain links; a click on one that leads to this page changes the page in place.
import { BY_NAME, formatRoute, parseRoute, type Route } from "./route.ts";

class Router {
  route = $state.raw<Route>(parseRoute(location.pathname, location.search));

  start(): void {
    window.addEventListener("popstate", () => this.#read());
    document.addEventListener("click", (event) => {
      if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
      const link = (event.target as Element).closest?.("a[href]");
      if (!(link instanceof HTMLAnchorElement) || link.origin !== location.origin || link.target || link.hasAttribute("download")) return;
      if (link.getAttribute("href")?.startsWith("#")) return;
      event.preventDefault();
      this.go(link.pathname + link.search);
    });
  }

  go(address: string): void {
    if (address === location.pathname + location.search) return;
    history.pushState(null, "", address);
    this.#read();
    window.scrollTo(0, 0);
    // Who goes by keyboard, or listens, begins at the page's heading.
    requestAnimationFrame(() => document.getElementById("title")?.focus({ preventScroll: true }));
  }

  /** Another page, with nothing of this one's filter. */
  to(page: Route["page"], name = ""): void {
    this.go(formatRoute({ page, name, q: "", sort: BY_NAME, chosen: [], tab: "" }));
  }

  /** The same page, seen otherwise: no step in the history for each letter that is typed. */
  change(part: Partial<Route>): void {
    history.replaceState(null, "", formatRoute({ ...this.route, ...part }));
    this.#read();
  }

  #read(): void {
    this.route = parseRoute(location.pathname, location.search);
  }
}

export const router = new Router();
