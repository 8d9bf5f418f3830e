// The light or dark theme that the user chose, and the style sheet's colors for canvases.

import { useEffect, useState } from "preact/hooks";
import { useMedia } from "./hooks.js";

/** The key in the browser's storage. first_paint.js uses the same key. */
const THEME_KEY = "dmnode.theme";

/** @typedef {"system" | "light" | "dark"} ThemeChoice */

const listeners = new Set(/** @type {(() => void)[]} */ ([]));

/** @returns {ThemeChoice} */
function chosen() {
  const { theme } = document.documentElement.dataset;
  return theme === "light" || theme === "dark" ? theme : "system";
}

/** @param {ThemeChoice} choice */
export function choose(choice) {
  if (choice === "system") {
    localStorage.removeItem(THEME_KEY);
    delete document.documentElement.dataset.theme;
  } else {
    localStorage.setItem(THEME_KEY, choice);
    document.documentElement.dataset.theme = choice;
  }
  for (const listener of listeners) listener();
}

/** Returns the user's choice and the resulting theme. */
export function useTheme() {
  const [choice, setChoice] = useState(chosen);
  const isDarkSystem = useMedia("(prefers-color-scheme: dark)");
  useEffect(() => {
    const changed = () => setChoice(chosen());
    listeners.add(changed);
    return () => void listeners.delete(changed);
  }, []);
  return { choice, theme: choice === "system" ? (isDarkSystem ? "dark" : "light") : choice };
}

/**
 * Resolves custom properties to colors that a canvas understands.
 *
 * @template {string} N
 * @param {readonly N[]} names without the two dashes
 * @returns {Record<N, string>}
 */
export function colorsOf(names) {
  const probe = document.createElement("span");
  document.body.append(probe);
  const colors = /** @type {Record<N, string>} */ ({});
  for (const name of names) {
    probe.style.color = `var(--${name})`;
    colors[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return colors;
}

/** @param {string} color as computed styles have it @param {number} alpha */
export function withAlpha(color, alpha) {
  const parts = /^rgba?\(([\d.]+),\s*([\d.]+),\s*([\d.]+)/.exec(color);
  return parts === null ? color : `rgba(${parts[1]}, ${parts[2]}, ${parts[3]}, ${alpha})`;
}
