import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

/** A `scanner serve` that answers the page while it is worked on: STOCKSCAN_URL, else the usual one. */
const server = process.env.STOCKSCAN_URL ?? "http://127.0.0.1:8000";

export default defineConfig({
  plugins: [svelte()],
  // Committed and embedded: the same source must give the same bytes on every machine.
  build: { target: "es2023", assetsInlineLimit: 0, modulePreload: { polyfill: false }, reportCompressedSize: true },
  server: { proxy: { "/api": { target: server, ws: true, headers: { Origin: server, Host: new URL(server).host } } } },
});
