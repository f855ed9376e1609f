/** The columns of a table, and the order of its rows. */

import type { Cell, Row } from "./api";
import { heading, isChange, shown } from "./format";

export type ColumnType = "text" | "integer" | "number" | "boolean" | "date" | "time" | "timestamp";

export interface Column {
  name: string;
  type: ColumnType;
  heading: string;
  /** What a cell shows. */
  shown: (value: Cell | undefined) => string;
  /** Whether its sign is a colour. */
  isSigned: boolean;
}

function typeOf(values: Cell[]): ColumnType {
  const known = values.filter((value) => value !== null && value !== undefined);
  if (known.length === 0) return "text";
  if (known.every((value) => typeof value === "boolean")) return "boolean";
  if (known.every((value) => typeof value === "number")) return known.every((value) => Number.isInteger(value)) ? "integer" : "number";
  const texts = known.filter((value) => typeof value === "string");
  if (texts.length < known.length) return "text";
  if (texts.every((text) => /^\d{4}-\d\d-\d\d$/.test(text))) return "date";
  if (texts.every((text) => /^\d\d:\d\d(:\d\d(\.\d+)?)?$/.test(text))) return "time";
  if (texts.every((text) => /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?$/.test(text))) return "timestamp";
  return "text";
}

/** The columns of rows, in the order of the first row; without those that are named, and headings over those made of the names. */
export function columns(rows: Row[], { without = [], headings = {} }: { without?: string[]; headings?: Record<string, string> } = {}): Column[] {
  const first = rows[0];
  if (!first) return [];
  return Object.keys(first)
    .filter((name) => !without.includes(name))
    .map((name) => ({
      name,
      type: typeOf(rows.map((row) => row[name] ?? null)),
      heading: headings[name] ?? heading(name),
      shown: (value) => shown(value, name),
      isSigned: isChange(name),
    }));
}

export interface Order {
  name: string;
  isDescending: boolean;
}

const COLLATOR = new Intl.Collator("en", { numeric: true });

/** Rows in an order; what is not known comes last, whichever way. Rows that are equal stay as they were. */
export function sorted(rows: Row[], order: Order | null): Row[] {
  if (!order) return rows;
  const { name, isDescending } = order;
  return rows.toSorted((one, other) => {
    const [a, b] = [one[name] ?? null, other[name] ?? null];
    if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
    const difference = typeof a === "string" && typeof b === "string" ? COLLATOR.compare(a, b) : Number(a) - Number(b);
    return isDescending ? -difference : difference;
  });
}

/** An order as the address has it: `change_pct`, `-change_pct`. */
export const orderOf = (text: string): Order | null => (text ? { name: text.replace(/^-/, ""), isDescending: text.startsWith("-") } : null);
export const orderText = (order: Order | null): string => (order ? `${order.isDescending ? "-" : ""}${order.name}` : "");
