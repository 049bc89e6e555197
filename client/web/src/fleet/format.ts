// Times, sizes and counts as people read them.
import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";

/** In ms since 1970; null where there is no time. */
export function millis(time: Timestamp | undefined): number | null {
  return time ? Number(time.seconds) * 1000 + time.nanos / 1e6 : null;
}

export const durationMs = (duration: Duration): number => Number(duration.seconds) * 1000 + duration.nanos / 1e6;

/** As the command prints it: 0.4s, 12s, 5m03s, 3h20m, 4d. */
export function span(ms: number): string {
  const s = Math.max(0, ms) / 1000;
  if (s < 1) return `${Math.round(s * 1000)}ms`;
  if (s < 10) return `${s.toFixed(1)}s`;
  if (s < 60) return `${Math.floor(s)}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m${String(Math.floor(s % 60)).padStart(2, "0")}s`;
  if (s < 86_400) return `${Math.floor(s / 3600)}h${String(Math.floor((s % 3600) / 60)).padStart(2, "0")}m`;
  return `${Math.floor(s / 86_400)}d`;
}

/** In whole seconds at least: for what is looked at while it grows. */
export function age(since: number | null, now: number): string {
  if (since === null) return "—";
  const ms = Math.max(0, now - since);
  return ms < 10_000 ? `${Math.floor(ms / 1000)}s` : span(ms);
}

/** By hand: `toLocaleTimeString` takes longer than all else of a row. */
export function clock(ms: number): string {
  const time = new Date(ms);
  const two = (n: number) => String(n).padStart(2, "0");
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}

export function moment(ms: number | null): string {
  if (ms === null) return "—";
  const time = new Date(ms);
  const two = (n: number) => String(n).padStart(2, "0");
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} ${clock(ms)}`;
}

/** Of MiB: 512M, 1.5G, 4T. */
export function mib(n: number | bigint): string {
  return size(Number(n) * 1024 * 1024);
}

export function size(bytes: number | bigint): string {
  let n = Number(bytes);
  for (const unit of ["B", "K", "M", "G", "T"]) {
    if (n < 1024 || unit === "T") return `${n < 10 && n % 1 !== 0 ? n.toFixed(1) : Math.round(n)}${unit}`;
    n /= 1024;
  }
  return "";
}

/** 12 345, with thin spaces. */
export function count(n: number | bigint): string {
  return String(n).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
}

export const plural = (n: number, one: string, many = `${one}s`): string => `${count(n)} ${n === 1 ? one : many}`;

/** booked / capacity as 0…1; 0 where nothing is known. */
export const share = (part: number | bigint, whole: number | bigint): number =>
  Number(whole) > 0 ? Math.min(1, Number(part) / Number(whole)) : 0;
