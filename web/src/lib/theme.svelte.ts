/** Dark or light: as the configuration says until it is chosen here. */

export type Theme = "system" | "dark" | "light";

const KEY = "stockscan.theme";
const system = matchMedia("(prefers-color-scheme: dark)");
const stored = localStorage.getItem(KEY);
let isChosen = stored === "dark" || stored === "light" || stored === "system";

export const theme = $state({ chosen: (isChosen ? stored : "system") as Theme, isDark: false });

function apply(): void {
  theme.isDark = theme.chosen === "system" ? system.matches : theme.chosen === "dark";
  document.documentElement.dataset.theme = theme.isDark ? "dark" : "light";
}

export function choose(chosen: Theme): void {
  theme.chosen = chosen;
  isChosen = true;
  localStorage.setItem(KEY, chosen);
  apply();
}

/** What the configuration says. */
export function assume(configured: "auto" | "dark" | "light"): void {
  if (isChosen) return;
  theme.chosen = configured === "auto" ? "system" : configured;
  apply();
}

system.addEventListener("change", apply);
apply();

/** A colour of the theme, for what is drawn on a canvas. Read `theme.isDark` where it is used, so that it is drawn anew when that changes. */
export function colour(name: "text" | "muted" | "line" | "surface" | "up" | "down" | "accent" | "warn"): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
