// The client of banger, for pages and for Node (which connects by "@banger/client/node").
//
// Read in this order: `client` is what a program holds, `rule` says what is repeated and what is left
// unknown, `error` what can go wrong, `told` and `watch` how a stream is followed, `table` what is
// kept of it, `guest` how programs and files in a guest are reached.

export { Backoff } from "./backoff.js";
export { Client, type ClientOptions } from "./client.js";
export { BangerError, type Call, type ErrorKind, type FieldProblem, type Reason } from "./error.js";
export {
    type ExecEvent,
    type ExecOptions,
    type ExecResult,
    type Input,
    MAX_DATA_BYTES,
} from "./guest.js";
export { DEFAULT_DEADLINE_MS, type RuleOptions } from "./rule.js";
export { Table, type TableState } from "./table.js";
export { type Change, Told, type Update, type VmList } from "./told.js";
export { type WaitFor, type Waited } from "./wait.js";
export { type VmFilterInit, type WatchOptions } from "./watch.js";
export { connectWeb, type WebOptions } from "./web.js";
export * as v1 from "./v1.js";
