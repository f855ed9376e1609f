/** What there is to scan with and on: asked for once, and again when it may have changed. */

import { ask, type DefaultConfiguration, type Parameter, type Scanner, type Session, type Values } from "./api";

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

export async function load(): Promise<void> {
  try {
    const [scanners, configuration, sessions] = await Promise.all([
      ask<Scanner[]>("/scanners"),
      ask<DefaultConfiguration>("/config/default"),
      ask<Session[]>("/sessions?limit=5000"),
    ]);
    Object.assign(catalogue, { scanners, configuration, sessions, problem: "", isThere: true });
  } catch (error) {
    catalogue.problem = error instanceof Error ? error.message : String(error);
  }
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
