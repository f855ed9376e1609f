/** The configuration: the same that the command shows and changes. */

import { ask, type Cell, type Parameter, type Row } from "./api";
import { parameters, scanner } from "./catalogue.svelte";

export interface Key {
  section: string;
  key: string;
  value: Cell;
  default: Cell;
  /** `built-in`, the name of a file, or of a variable. */
  origin: string;
  unit: string | null;
  allowed: string;
  meaning: string;
  /** `server` or `dashboard`, if it acts only there. */
  acts_in: string | null;
  schema: Row;
}

export interface Configuration {
  /** The file that changes go to. */
  file: string | null;
  writable: boolean;
  keys: Key[];
  /** Mistakes in the files; what was before goes on to hold. */
  problems: string[];
}

export interface Change {
  changed: boolean;
  needs_restart: boolean;
  /** What the file said before; null: nothing. */
  previous: Cell;
  overridden_by: string | null;
}

const pathOf = ({ section, key }: Key): string => `/configuration/${encodeURIComponent(section)}/${encodeURIComponent(key)}`;
export const put = (key: Key, value: Cell): Promise<Change> => ask(pathOf(key), { method: "PUT", body: { value } });
export const remove = (key: Key): Promise<Change> => ask(pathOf(key), { method: "DELETE" });

export const needsRestart = (key: Key): boolean => key.schema["x-needs-restart"] === true;
export const isBuiltIn = (key: Key): boolean => key.origin === "built-in";

const sentence = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** A key as a field shows it: a scanner's as in every other form of it. */
export function parameterOf(key: Key): Parameter {
  const doc = sentence(key.meaning).replaceAll("`", "");
  const known = scanner(key.section) && parameters(key.section).find(({ name }) => name === key.key);
  if (known) return { ...known, doc };
  const { schema } = key;
  const types = [schema["type"]].flat();
  const has = (type: string): boolean => types.includes(type);
  const type = has("array") ? "VARCHAR[]" : has("boolean") ? "BOOLEAN" : has("integer") ? "INTEGER" : has("number") ? "DOUBLE" : String(schema["title"] ?? "").startsWith("a time") ? "TIME" : "VARCHAR";
  const choices = Array.isArray(schema["enum"]) ? schema["enum"].map(String) : null;
  // Their ranges are wide: a slider would be of no use.
  return { name: key.key, type, default: null, min: null, max: null, step: null, choices, unit: key.unit, doc };
}

export const SECTIONS: { name: string; title: string; about: string }[] = [
  { name: "default", title: "All scans", about: "What a scan is run with, unless the section of its scanner says otherwise." },
  { name: "streaming", title: "Live scans", about: "Scans that are run again and again." },
  { name: "api", title: "Server", about: "How this server is reached, and what one request may ask for." },
  { name: "dashboard", title: "Dashboard", about: "What these pages begin with, for everybody who opens them." },
  { name: "cli", title: "Command", about: "How 'scanner' says what it has to say." },
];
