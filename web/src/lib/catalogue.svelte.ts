/** What there is to scan with and on: asked for once, and again when it may have changed. */

import { ask, type DefaultConfiguration, type Parameter, type Scanner, type Session, type Values } from "./api";
import type { Configuration } from "./configuration";
import { assume } from "./theme.svelte";

/** Parameters that a request has fields of its own for, or that the server alone decides. */
const OF_REQUESTS = new Set(["scan_date", "end_date", "cutoff_time", "source", "bar_minutes", "symbols"]);

export const catalogue = $state({
  scanners: [] as Scanner[],
  configuration: { default: {}, scanners: {} } as DefaultConfiguration,
  sessions: [] as Session[],
  /** Why it is not there, or "". */
  problem: "",
  isThere: false,
});

/** What the configuration says of this page. */
export const preferences = $state({
  default_scanner: "breakout",
  dashboard_layout: "wide" as "wide" | "centered",
  enable_export: true,
  max_chart_points: 1000,
  /** In seconds. */
  auto_refresh_interval: 30,
  auto_refresh_ui: true,
  theme: "auto" as "auto" | "dark" | "light",
});

const sessions = (): Promise<Session[]> => ask<Session[]>("/sessions?limit=5000");

export async function load(): Promise<void> {
  try {
    const [scanners, configuration, known, { keys }] = await Promise.all([
      ask<Scanner[]>("/scanners"),
      ask<DefaultConfiguration>("/config/default"),
      sessions(),
      ask<Configuration>("/configuration"),
    ]);
    const ours = keys.filter(({ section, key }) => (section === "dashboard" || section === "streaming") && key in preferences);
    Object.assign(preferences, Object.fromEntries(ours.map(({ key, value }) => [key, value])));
    assume(preferences.theme);
    Object.assign(catalogue, { scanners, configuration, sessions: known, problem: "", isThere: true });
  } catch (error) {
    catalogue.problem = error instanceof Error ? error.message : String(error);
  }
}

/**
 * Looks again and again, as often as is configured, as long as somebody can see it. For an effect: gives what ends it.
 */
export function lookAgain(look: () => void): () => void {
  const timer = setInterval(() => document.visibilityState === "visible" && look(), preferences.auto_refresh_interval * 1000);
  return () => clearInterval(timer);
}

/** A new session comes while the page is open. */
export function followSessions(): () => void {
  return lookAgain(() => {
    if (!catalogue.isThere) return;
    sessions().then(
      (known) => {
        if (known[0]?.session_date !== catalogue.sessions[0]?.session_date) catalogue.sessions = known;
      },
      // Whatever is asked next says so.
      () => {},
    );
  });
}

export function scanner(name: string): Scanner | undefined {
  return catalogue.scanners.find((known) => known.scanner_type === name);
}

/** The parameters of a scanner that its form has. */
export function parameters(name: string): Parameter[] {
  return scanner(name)?.parameters.filter((parameter) => !OF_REQUESTS.has(parameter.name)) ?? [];
}

/** What the configuration says of a scanner, over its own defaults. */
export function configured(name: string): Values {
  return catalogue.configuration.scanners[name] ?? {};
}

/** The latest session of the data, or "". */
export function latest(): string {
  return catalogue.sessions[0]?.session_date ?? "";
}
