/** Indicators on demand: what TA-Lib has, by the server. */

import { ask, query, type Row } from "./api";
import type { Line } from "./chart";

export interface IndicatorOption {
  name: string;
  type: string;
  default: string | number | null;
  min: number | null;
  max: number | null;
}

export interface IndicatorDocument {
  indicator: string;
  function_name: string;
  title: string;
  group_name: string;
  inputs: string[];
  options: IndicatorOption[];
  outputs: string[] | null;
}

let known: Promise<IndicatorDocument[]> | null = null;

/** All that there are; asked for once. */
export function indicators(): Promise<IndicatorDocument[]> {
  known ??= ask<IndicatorDocument[]>("/indicators").catch((error: unknown) => {
    known = null;
    throw error;
  });
  return known;
}

/** An indicator with its options as they are given: `macd(12,26,9)`. */
export interface Indicator {
  text: string;
  name: string;
  options: string[];
}

export function indicatorOf(text: string): Indicator | null {
  const parts = /^(\w+)(?:\(([^)]*)\))?$/.exec(text.trim());
  if (!parts?.[1]) return null;
  const options = (parts[2] ?? "").split(",").map((option) => option.trim());
  return { text: text.trim(), name: parts[1], options: options.filter(Boolean) };
}

/** Groups whose values are prices. */
const OF_PRICES = ["Overlap Studies", "Price Transform"];

/** The lines of an indicator over the same bars as the chart's. */
export async function indicatorPanes(symbol: string, indicator: Indicator, bars: string, signal: AbortSignal): Promise<Line[]> {
  const document = (await indicators()).find((entry) => entry.indicator === indicator.name);
  if (!document) throw new Error(`there is no indicator '${indicator.name}'`);
  const options = Object.fromEntries(indicator.options.map((value, index) => [document.options[index]?.name ?? `option_${index + 1}`, value]));
  const extra = query(options).replace(/^\?/, "&");
  const rows = await ask<Row[]>(`/bars/${encodeURIComponent(symbol)}/indicators/${indicator.name}${bars}${extra}`, { signal });
  const outputs = Object.keys(rows[0] ?? {}).filter((name) => name !== "symbol" && name !== "ts");
  return outputs.map((output) => ({
    pane: OF_PRICES.includes(document.group_name) ? "price" : indicator.text,
    title: outputs.length > 1 ? `${indicator.text} ${output}` : indicator.text,
    isHistogram: /hist/.test(output),
    points: rows.map((row) => ({ ts: String(row["ts"]), value: typeof row[output] === "number" ? row[output] : null })),
  }));
}
