/** A scanner's parameters as the fields of a form, and what is in them. */

import type { Cell, Parameter, Values } from "./api";

export type Kind = "choice" | "boolean" | "slider" | "number" | "time" | "date" | "list" | "text";

export function kindOf(parameter: Parameter): Kind {
  if (parameter.choices?.length) return "choice";
  const type = parameter.type.toUpperCase();
  if (type.endsWith("[]")) return "list";
  if (type === "BOOLEAN") return "boolean";
  if (type === "TIME") return "time";
  if (type === "DATE") return "date";
  if (isNumeric(type)) return parameter.min !== null && parameter.max !== null ? "slider" : "number";
  return "text";
}

const isNumeric = (type: string): boolean => /^(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DOUBLE|FLOAT|DECIMAL)/.test(type);

/** The value of a default as SQL has it: 'any', 1.5, NULL. */
export function fromSql(text: string | null): Cell {
  if (text === null || /^null$/i.test(text)) return null;
  const quoted = /^'(.*)'$/s.exec(text);
  if (quoted) return (quoted[1] ?? "").replaceAll("''", "'");
  if (/^(true|false)$/i.test(text)) return text.toLowerCase() === "true";
  const number = Number(text);
  return Number.isNaN(number) ? text : number;
}

/** A value as a field or the address has it. */
export function toText(value: Cell | undefined): string {
  if (value === null || value === undefined) return "";
  return Array.isArray(value) ? value.join(",") : String(value);
}

/** What was typed as a value of the parameter. An empty field is NULL. What cannot be a value stays text: the server says what is wrong with it. */
export function fromText(parameter: Parameter, text: string): Cell {
  const trimmed = text.trim();
  if (trimmed === "") return null;
  switch (kindOf(parameter)) {
    case "slider":
    case "number": {
      // Commas between thousands; a decimal one is not guessed at.
      const number = Number(/^[-+]?\d{1,3}(,\d{3})+(\.\d+)?$/.test(trimmed) ? trimmed.replaceAll(",", "") : trimmed);
      return Number.isNaN(number) ? trimmed : number;
    }
    case "boolean":
      return trimmed === "true" ? true : trimmed === "false" ? false : trimmed;
    case "list":
      return trimmed
        .split(",")
        .map((part) => part.trim())
        .filter(Boolean);
    default:
      return trimmed;
  }
}

/** What is given of the parameters, as a request has it. */
export function values(parameters: Parameter[], given: Record<string, string>): Values {
  const known = parameters.filter((parameter) => parameter.name in given);
  return Object.fromEntries(known.map((parameter) => [parameter.name, fromText(parameter, given[parameter.name] ?? "")]));
}
