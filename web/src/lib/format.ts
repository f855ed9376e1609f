/** How values are written. The unit of a column is in its name, as everywhere in Stockscan. */

import type { Cell } from "./api";

const GROUPED = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });
const fixed = (digits: number): Intl.NumberFormat =>
  new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const FIXED = [0, 1, 2, 3, 4].map(fixed);

/** A number with so many digits behind the point, thousands grouped. */
export const number = (value: number, digits = 2): string => (FIXED[digits] ?? fixed(digits)).format(value);
/** A whole number, thousands grouped. */
export const whole = (value: number): string => GROUPED.format(value);
/** So many of something: 1 trade, 2 trades. */
export const counted = (count: number, one: string, many = `${one}s`): string => `${whole(count)} ${count === 1 ? one : many}`;
/** A number in few characters: 3.6M. */
export const compact = (value: number): string => SHORT.format(value);
/** A percentage with its sign. */
export const signed = (value: number, digits = 2): string => `${value > 0 ? "+" : ""}${number(value, digits)}%`;

export const isNumber = (value: unknown): value is number => typeof value === "number";

/** Columns that say by how much something went up or down: they are coloured by their sign. */
export const isChange = (name: string): boolean => /(change|return|gap|momentum|mfe|mae|drawdown|profit|extension|distance)\w*$/.test(name) && !/factor|range|filled|sessions/.test(name);
const isPercent = (name: string): boolean => name.endsWith("_pct") || name === "success_rate" || name === "hit_rate";
const isAmount = (name: string): boolean => /(?<!relative_)volume$|^bars$/.test(name);
const isScore = (name: string): boolean => /score|_points$/.test(name);

/** A value as the column of that name shows it. */
export function shown(value: Cell | undefined, name: string): string {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "string") {
    // A time stamp of the exchange, to the minute.
    const moment = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(:00)?$/.exec(value);
    return moment ? `${moment[1]} ${moment[2]}` : value.replace(/^(\d\d:\d\d):00$/, "$1");
  }
  if (typeof value === "object") return JSON.stringify(value).replaceAll('"', "").replaceAll(",", ", ").replaceAll(":", ": ");
  if (isPercent(name)) return isChange(name) ? signed(value) : `${number(value)}%`;
  if (isAmount(name)) return Math.abs(value) >= 10_000 ? compact(value) : whole(value);
  if (isScore(name)) return number(value, 1);
  if (Number.isInteger(value)) return /price|open|high|low|close|resistance|support/.test(name) ? number(value) : whole(value);
  return Math.abs(value) < 0.01 ? String(Number(value.toPrecision(3))) : number(value);
}

const ABBREVIATIONS = /\b(adx|api|atr|cors|crp|ema|macd|mae|mfe|obv|rsi|sma|sql|ttl|ui|url|vwap)\b/g;

/** A column's name as a heading: `volume_ratio` is "Volume ratio", `change_pct` "Change %". */
export function heading(name: string): string {
  const words = name.replace(/_pct$/, " %").replaceAll("_", " ").replace(/\bts\b/, "time").replace(ABBREVIATIONS, (word) => word.toUpperCase());
  const known: Record<string, string> = { symbol: "Symbol", rank: "#", probability_score: "Score", eod_price: "End-of-day price", price_change_pct: "Change after", breakout_successful: "Went its way", day_range_pct: "Day range", scan_date: "Session" };
  return known[name] ?? words.charAt(0).toUpperCase() + words.slice(1);
}

/** How long ago, in words that fit a heading. */
export function ago(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 90) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.round(hours / 24)} days`;
}

export function milliseconds(value: number): string {
  return value < 1000 ? `${value < 10 ? number(value, 1) : whole(value)} ms` : `${number(value / 1000, 1)} s`;
}
