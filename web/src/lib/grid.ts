/** Values to try, as they are typed: `1,2,5..20..5`, `09:30..10:30..00:15`, `0.5,1,none`. The same as the command's `--grid`. */

import type { Cell, Parameter } from "./api";
import { fromSql, fromText, kindOf, toText } from "./parameters";

/** Values that one range may have. */
const MOST = 10_000;

export interface Candidates {
  values: Cell[];
  /** What is wrong with it, or "". */
  mistake: string;
}

const isTime = (text: string): boolean => text.includes(":");
const pad = (value: number): string => String(value).padStart(2, "0");
const clock = (minutes: number): string => `${pad(Math.floor(minutes / 60))}:${pad(minutes % 60)}`;

function minutes(text: string): number | null {
  const parts = /^(\d{1,2}):(\d\d)$/.exec(text);
  return parts && Number(parts[2]) < 60 ? Number(parts[1]) * 60 + Number(parts[2]) : null;
}

/** A number in units of its last decimal, so that steps are exact. */
function scaled(text: string, decimals: number): number | null {
  const parts = /^([-+]?\d+)(?:\.(\d+))?$/.exec(text);
  return parts ? Number(`${parts[1]}${(parts[2] ?? "").padEnd(decimals, "0")}`) : null;
}

function range(from: string, to: string, step: string): string[] | string {
  const ofTimes = [from, to, step].some(isTime);
  const decimals = Math.max(...[from, to, step].map((text) => text.split(".")[1]?.length ?? 0));
  const [first, last, by] = [from, to, step].map((text) => (ofTimes ? minutes(text) : scaled(text, decimals)));
  if (first === null || last === null || by === null || first === undefined || last === undefined || by === undefined) {
    return `expected FROM..TO..STEP, such as ${ofTimes ? "09:30..11:00..00:30" : "0.5..2..0.25"}`;
  }
  if (by <= 0) return "the step is not above zero";
  if (first > last) return "the range ends before it starts";
  if ((last - first) / by >= MOST) return `more than ${MOST} values`;
  const written = (value: number): string => (ofTimes ? clock(value) : String(Number((value / 10 ** decimals).toFixed(decimals))));
  return Array.from({ length: Math.floor((last - first) / by) + 1 }, (_, place) => written(first + place * by));
}

export function candidates(parameter: Parameter, given: string): Candidates {
  const texts: string[] = [];
  for (const item of given.split(",").map((text) => text.trim())) {
    if (!item) continue;
    const parts = item.split("..").map((text) => text.trim());
    const found = parts.length === 1 ? [item] : parts.length === 3 ? range(parts[0] ?? "", parts[1] ?? "", parts[2] ?? "") : "expected FROM..TO..STEP, such as 0.5..2..0.25";
    if (typeof found === "string") return { values: [], mistake: `${item}: ${found}` };
    texts.push(...found);
  }
  const values = texts.map((text) => {
    if (/^(none|null)$/i.test(text)) return null;
    const at = kindOf(parameter) === "time" ? minutes(text) : null;
    return at === null ? fromText(parameter, text) : clock(at);
  });
  const isNumeric = ["number", "slider"].includes(kindOf(parameter));
  const stranger = isNumeric ? values.find((value) => typeof value === "string") : undefined;
  if (stranger !== undefined) return { values: [], mistake: `${String(stranger)} is no number` };
  const twice = values.find((value, place) => values.indexOf(value) !== place);
  if (twice !== undefined) return { values: [], mistake: `${toText(twice) || "none"} is there twice` };
  return { values, mistake: values.length ? "" : "no value; expected such as 1,2,3 or 1..3..0.5" };
}

/** Values as they are typed: evenly spaced numbers as a range. */
export function typed(values: Cell[]): string {
  const list = values.map((value) => toText(value) || "none").join(",");
  const numbers = values.filter((value) => typeof value === "number");
  const [first, second, last] = [numbers[0], numbers[1], numbers.at(-1)];
  if (first === undefined || second === undefined || last === undefined || numbers.length < 4) return list;
  const short = [`${first}..${last}..${Number((second - first).toPrecision(10))}`, ...values.slice(numbers.length).map((value) => toText(value) || "none")].join(",");
  const again = candidates({ name: "", type: "DOUBLE", default: null, min: null, max: null, step: null, choices: null, unit: null, doc: null }, short);
  return again.values.length === values.length && again.values.every((value, place) => value === values[place]) ? short : list;
}

/** What one may begin with: the default and its neighbours. */
export function suggested(parameter: Parameter, configured: Cell): string {
  const usual = configured ?? fromSql(parameter.default);
  switch (kindOf(parameter)) {
    case "choice":
      return (parameter.choices ?? []).join(",");
    case "boolean":
      return "true,false";
    case "time": {
      const at = minutes(toText(usual).slice(0, 5));
      return at === null ? "" : `${clock(Math.max(0, at - 15))}..${clock(Math.min(1440, at + 30))}..00:15`;
    }
    default: {
      if (typeof usual !== "number") return parameter.name.endsWith("_pct") ? "0.5,1,2,none" : "none";
      const isWhole = /INT/.test(parameter.type.toUpperCase());
      const rough = Math.abs(usual) / 3 || (isWhole ? 1 : 0.5);
      const power = 10 ** Math.floor(Math.log10(rough));
      const nice = power * ([1, 2, 5, 10].find((step) => step * power >= rough * 0.99) ?? 10);
      const step = Number(Math.max(isWhole ? 1 : 0, nice).toPrecision(6));
      const least = parameter.min ?? 0;
      const from = Math.max(least, Number((usual - step).toPrecision(6)));
      const to = Math.min(parameter.max ?? Infinity, Number((usual + 2 * step).toPrecision(6)));
      return `${from}..${to}..${step}`;
    }
  }
}
