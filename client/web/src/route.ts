// What the address says: the page, what it shows, and how. A link shows the same to whoever has it.
import { COLUMNS, type Column, type Sort } from "./fleet/order.ts";

export type Page = "fleet" | "vms" | "vm" | "hosts" | "host" | "images" | "activity";

export interface Route {
  readonly page: Page;
  /** Of `vm` and `host`. */
  readonly name: string;
  /** What is typed into the filter. */
  readonly q: string;
  readonly sort: Sort;
  /** Names of the VMs that are chosen. */
  readonly chosen: readonly string[];
  /** Which part of a VM's or host's page. */
  readonly tab: string;
}

export const BY_NAME: Sort = { column: "name", down: false };

export function parseRoute(path: string, search: string): Route {
  const parts = path.split("/").filter(Boolean).map(decode);
  const query = new URLSearchParams(search);
  const rest = {
    q: query.get("q") ?? "",
    sort: parseSort(query.get("sort") ?? ""),
    chosen: (query.get("sel") ?? "").split(",").filter(Boolean),
    tab: query.get("tab") ?? "",
  };
  const [first, second] = parts;
  if (first === "vms") return { page: second ? "vm" : "vms", name: second ?? "", ...rest };
  if (first === "hosts") return { page: second ? "host" : "hosts", name: second ?? "", ...rest };
  if (first === "images" || first === "activity") return { page: first, name: "", ...rest };
  return { page: "fleet", name: "", ...rest };
}

export function formatRoute(route: Route): string {
  const path = {
    fleet: "/",
    vms: "/vms",
    vm: `/vms/${encodeURIComponent(route.name)}`,
    hosts: "/hosts",
    host: `/hosts/${encodeURIComponent(route.name)}`,
    images: "/images",
    activity: "/activity",
  }[route.page];
  const query = new URLSearchParams();
  if (route.q) query.set("q", route.q);
  const sort = formatSort(route.sort);
  if (sort) query.set("sort", sort);
  if (route.chosen.length > 0) query.set("sel", route.chosen.join(","));
  if (route.tab) query.set("tab", route.tab);
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

function parseSort(text: string): Sort {
  const down = text.startsWith("-");
  const column = (down ? text.slice(1) : text) as Column;
  return COLUMNS.includes(column) ? { column, down } : BY_NAME;
}

const formatSort = ({ column, down }: Sort): string => (column === "name" && !down ? "" : `${down ? "-" : ""}${column}`);

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
