// How the page is built, for development and for the server. The result in `dist` is committed
// (docs/adr), so it depends on nothing but the sources and the lock file: no times, no paths.
import { fileURLToPath } from "node:url";

import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  plugins: [svelte()],
  resolve: {
    // The client's sources, as they are: what the page is built of needs no other build before it.
    alias: {
      "@banger/client/v1": here("../typescript/src/v1.ts"),
      "@banger/client": here("../typescript/src/index.ts"),
    },
    dedupe: ["@bufbuild/protobuf", "@connectrpc/connect", "@connectrpc/connect-web"],
  },
  build: {
    target: "es2022",
    // The policy of the page allows no data: addresses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
  },
  server: {
    proxy: { "^/(banger|grpc)\\.": { target: process.env["BANGER_SERVER"] ?? "http://127.0.0.1:7070" } },
  },
  test: {
    // Each file of browser tests has a server and a browser of its own, one after the other.
    fileParallelism: false,
    projects: [
      { extends: true, test: { name: "unit", include: ["tests/unit/**/*.test.ts"], environment: "node" } },
      {
        extends: true,
        test: {
          name: "browser",
          include: ["tests/browser/**/*.test.ts"],
          environment: "node",
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
