/** Dark or light: as the system has it until it is chosen. */

export type Theme = "system" | "dark" | "light";

const KEY = "stockscan.theme";
const system = matchMedia("(prefers-color-scheme: dark)");
const stored = localStorage.getItem(KEY);

export const theme = $state({ chosen: (stored === "dark" || stored === "light" ? stored : "system") as Theme, isDark: false });

function apply(): void {
  theme.isDark = theme.chosen === "system" ? system.matches : theme.chosen === "dark";
  document.documentElement.dataset.theme = theme.isDark ? "dark" : "light";
}

export function choose(chosen: Theme): void {
  theme.chosen = chosen;
  if (chosen === "system") localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, chosen);
  apply();
}

system.addEventListener("change", apply);
apply();

/** A colour of the theme, for what is drawn on a canvas. Read `theme.isDark` where it is used, so that it is drawn anew when that changes. */
export function colour(name: "text" | "muted" | "line" | "surface" | "up" | "down" | "accent" | "warn"): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
