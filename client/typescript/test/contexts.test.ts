// Which server is meant: the same answers as the command gives.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import { EndpointError, resolveEndpoint } from "@banger/client/node";

const home = mkdtempSync(join(tmpdir(), "banger-contexts-"));
after(() => rmSync(home, { recursive: true }));
mkdirSync(join(home, ".config/banger"), { recursive: true });
writeFileSync(join(home, "token"), "\uFEFFfrom-a-file\n");
writeFileSync(
    join(home, ".config/banger/config.toml"),
    `current = "lab"
[contexts.lab]
server = "https://lab.example"
token_file = "${join(home, "token")}"
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
    assert.throws(() => resolveEndpoint({ ca: join(home, "token") }, {}), /no PEM certificate/);
});
