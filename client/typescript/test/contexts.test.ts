// Which server is meant: the same answers as the command gives.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import { EndpointError, resolveEndpoint } from "@banger/client/node";

import { mayOwn } from "../dist/node/files.js";

const home = mkdtempSync(join(tmpdir(), "banger-contexts-"));
after(() => rmSync(home, { recursive: true }));
mkdirSync(join(home, ".config/banger"), { recursive: true });
const tokenFile = join(home, "token");
const config = join(home, ".config/banger/config.toml");
writeFileSync(tokenFile, "\uFEFFfrom-a-file\n", { mode: 0o600 });
writeFileSync(
    config,
    `current = "lab"
[contexts.lab]
server = "https://lab.example"
token_file = "${tokenFile}"
[contexts.near]
server = "localhost:7171"
token = "secret"
[contexts.open]
server = "http://far.example"
token = "secret"
[contexts.allowed]
server = "http://far.example"
token = "secret"
insecure_plaintext = true
`,
    { mode: 0o600 },
);
const env = { HOME: home };

test("the current context is meant when nothing is said", () => {
    const { url, token } = resolveEndpoint({}, env);
    assert.deepEqual({ url, token }, { url: "https://lab.example:7070", token: "from-a-file" });
});

test("a server named by hand gets no token of a context", () => {
    for (const [chosen, more] of [
        [{ server: "other.example" }, {}],
        [{}, { BANGER_SERVER: "other.example" }],
    ] as const) {
        const { url, token } = resolveEndpoint(chosen, { ...env, ...more });
        assert.deepEqual({ url, token }, { url: "https://other.example:7070", token: undefined });
    }
});

test("a context named by hand is meant, and what is said beside it wins", () => {
    const near = resolveEndpoint({}, { ...env, BANGER_CONTEXT: "near" });
    assert.deepEqual([near.url, near.token], ["http://localhost:7171", "secret"]);
    const mine = resolveEndpoint({ context: "near", token: " mine " }, env);
    assert.deepEqual([mine.url, mine.token], ["http://localhost:7171", "mine"]);
});

test("a token goes in plain text to this machine only", () => {
    assert.throws(() => resolveEndpoint({ context: "open" }, env), EndpointError);
    assert.equal(resolveEndpoint({ context: "allowed" }, env).token, "secret");
});

test("without a file it is the default server", () => {
    assert.equal(resolveEndpoint({}, { HOME: "/nowhere" }).url, "http://127.0.0.1:7070");
    assert.equal(resolveEndpoint({}, {}).url, "http://127.0.0.1:7070");
});

test("what is no address, token or context is an error that says so", () => {
    for (const server of ["", "http://", "ftp://x", "x:0", "x:99999", "x/path", "a@b", "x:"]) {
        assert.throws(() => resolveEndpoint({ server }, {}), EndpointError, server);
    }
    for (const [server, url] of [
        ["[::1]:7", "http://[::1]:7"],
        ["HTTPS://h.example/", "https://h.example:7070"],
        ["127.0.0.2", "http://127.0.0.2:7070"],
    ] as const) {
        assert.equal(resolveEndpoint({ server }, {}).url, url);
    }
    assert.throws(() => resolveEndpoint({ token: "two words" }, {}), /no token has/);
    assert.throws(() => resolveEndpoint({ context: "constructor" }, env), /lab, near, open/);
    assert.throws(() => resolveEndpoint({ ca: tokenFile }, {}), /no PEM certificate/);
});

test("a file with a token that others may read is refused", () => {
    for (const path of [tokenFile, config]) {
        for (const mode of [0o640, 0o604, 0o620, 0o601]) {
            chmodSync(path, mode);
            const said = new RegExp(`${path} has mode ${mode.toString(8)}; .*chmod 600`);
            assert.throws(() => resolveEndpoint({}, env), said);
        }
        chmodSync(path, 0o400);
        assert.equal(resolveEndpoint({}, env).token, "from-a-file");
    }
});

test("a configuration without a token may be read by everybody", () => {
    const other = mkdtempSync(join(home, "other-"));
    mkdirSync(join(other, ".config/banger"), { recursive: true });
    writeFileSync(
        join(other, ".config/banger/config.toml"),
        `current = "lab"\n[contexts.lab]\nserver = "x"\ntoken_file = "${tokenFile}"\n`,
        { mode: 0o644 },
    );
    assert.equal(resolveEndpoint({}, { HOME: other }).token, "from-a-file");
});

test("a file with a token of another user is refused, and root's is not", () => {
    assert.deepEqual([mayOwn(0, 1000), mayOwn(1000, 1000), mayOwn(1000, 0)], [true, true, true]);
    assert.equal(mayOwn(1001, 1000), false);
});

test("what is no file is called so and hangs nobody", () => {
    const other = mkdtempSync(join(home, "fifo-"));
    const fifo = join(other, ".config/banger/config.toml");
    mkdirSync(join(other, ".config/banger"), { recursive: true });
    execFileSync("mkfifo", ["-m", "600", fifo]);
    for (const [path, word] of [
        [fifo, "FIFO"],
        [home, "directory"],
        ["/dev/null", "device"],
    ] as const) {
        const said = new RegExp(`${path} is a ${word}, not a regular file`);
        assert.throws(() => resolveEndpoint({ tokenFile: path }, {}), said);
        assert.throws(() => resolveEndpoint({ ca: path }, {}), said);
    }
    assert.throws(() => resolveEndpoint({}, { HOME: other }), /is a FIFO, not a regular file/);
});

test("a file without an end is not read to it", () => {
    const large = join(home, "large");
    writeFileSync(large, "", { mode: 0o600 });
    truncateSync(large, 2 ** 40);
    assert.throws(() => resolveEndpoint({ tokenFile: large }, {}), /too large/);
});
