/**
 * What backtests and optimisations share: which hits are traded and how, as the address has it. `scanner`, `from`, `to`, `cutoff`, `symbols`,
 * parameters as `p.name`, rules of trading as `t.name`.
 */

import { address } from "./address.svelte";
import type { Cell, Parameter, Row, Values } from "./api";
import { parameters } from "./catalogue.svelte";
import { toText, values } from "./parameters";
import { chosen, symbolsOf } from "./scan";

type Field = Pick<Parameter, "name" | "type" | "doc"> & Partial<Parameter>;
const field = (given: Field): Parameter => ({ default: null, min: null, max: null, step: null, choices: null, unit: null, ...given });

/** How hits are traded. */
export const RULES: { title: string; fields: Parameter[] }[] = [
  {
    title: "Trades",
    fields: [
      field({ name: "direction", type: "VARCHAR", default: "'long'", choices: ["long", "short"], doc: "Which way hits are traded." }),
      field({ name: "stop_loss_pct", type: "DOUBLE", unit: "%", min: 0.01, doc: "Loss at which a trade is closed." }),
      field({ name: "target_pct", type: "DOUBLE", unit: "%", min: 0.01, doc: "Gain at which a trade is closed." }),
      field({ name: "exit_time", type: "TIME", default: "'15:15'", doc: "Trades are closed by this time of the exchange; with daily bars 24:00." }),
      field({ name: "hold_sessions", type: "INTEGER", default: "0", unit: "sessions", min: 0, doc: "So many sessions after that of the entry; 0: the same." }),
    ],
  },
  {
    title: "Costs of each side",
    fields: [
      field({ name: "cost_bps", type: "DOUBLE", default: "0", unit: "bps", min: 0, doc: "Fees and taxes, in hundredths of a percent." }),
      field({ name: "slippage_bps", type: "DOUBLE", default: "0", unit: "bps", min: 0, doc: "How much worse than the bars' prices it is filled." }),
    ],
  },
  {
    title: "Portfolio",
    fields: [
      field({ name: "initial_capital", type: "DOUBLE", default: "100000", unit: "currency", min: 1, doc: "What there is at first." }),
      field({ name: "max_positions", type: "INTEGER", default: "3", unit: "trades", min: 1, doc: "How many may be open at the same time." }),
      field({ name: "position_size", type: "DOUBLE", unit: "currency", min: 0.01, doc: "Amount of each trade; none: the capital over the places." }),
      field({ name: "compounding", type: "BOOLEAN", default: "true", doc: "Whether trades get parts of what the capital has become." }),
    ],
  },
];
export const ALL_RULES = RULES.flatMap((group) => group.fields);

/** Rules that an optimisation can vary. */
export const VARIABLE_RULES = ["exit_time", "hold_sessions", "stop_loss_pct", "target_pct"];

/** Parameters of a scanner that a request has beside `config`. */
const BESIDE = ["session_start", "session_end"];

/** The request of the address, without what an optimisation varies. */
export function tradingRequest(varied: string[] = []): Values {
  const name = chosen();
  const all = values(parameters(name), address.all("p."));
  const entries = Object.entries(all).filter(([parameter]) => !varied.includes(parameter));
  const beside = Object.fromEntries(entries.filter(([parameter]) => BESIDE.includes(parameter)));
  const config = Object.fromEntries(entries.filter(([parameter]) => !BESIDE.includes(parameter)));
  const rules = Object.entries(values(ALL_RULES, address.all("t."))).filter(([rule]) => !VARIABLE_RULES.includes(rule) || !varied.includes(rule));
  const symbols = symbolsOf(address.get("symbols"));
  const cutoff = varied.includes("cutoff_time") ? "" : address.get("cutoff");
  return {
    scanner_type: name,
    ...(address.get("from") && { start_date: address.get("from") }),
    ...(address.get("to") && { end_date: address.get("to") }),
    ...(cutoff && { cutoff_time: cutoff }),
    ...(symbols.length && { symbols }),
    ...(Object.keys(config).length && { config }),
    ...beside,
    ...Object.fromEntries(rules),
  };
}

/** A value as a field has it: times to the minute. */
const textOf = (value: Cell | undefined): string => toText(value).replace(/^(\d\d:\d\d):00$/, "$1");

/** A request as the address has it. */
export function addressOf(request: Row): Record<string, string> {
  const config = (request["config"] ?? {}) as Values;
  const prefixed = (prefix: string, entries: [string, Cell | undefined][]): Record<string, string> =>
    Object.fromEntries(entries.map(([name, value]) => [`${prefix}${name}`, textOf(value) || " "]));
  const beside = BESIDE.filter((name) => name in request && request[name] !== null).map((name): [string, Cell | undefined] => [name, request[name]]);
  const rules = ALL_RULES.filter(({ name }) => name in request && request[name] !== null).map(({ name }): [string, Cell | undefined] => [name, request[name]]);
  const named = { scanner: request["scanner_type"], from: request["start_date"], to: request["end_date"], cutoff: request["cutoff_time"], symbols: request["symbols"] };
  const given = Object.entries(named).filter(([, value]) => value !== null && value !== undefined);
  return {
    ...Object.fromEntries(given.map(([name, value]) => [name, textOf(value)])),
    ...prefixed("p.", [...Object.entries(config), ...beside]),
    ...prefixed("t.", rules),
  };
}

/** Whether two requests ask for the same. */
export function isSame(one: Record<string, string>, other: Record<string, string>): boolean {
  const names = new Set([...Object.keys(one), ...Object.keys(other)]);
  return [...names].every((name) => one[name]?.trim() === other[name]?.trim());
}
