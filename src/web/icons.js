// The page's icons: strokes on a grid of 16, drawn for it.

import { h } from "preact";

/** @type {Record<string, string>} */
const PATHS = {
  overview: "M2.5 2.5h4.5v6h-4.5z M9 2.5h4.5v3.5h-4.5z M9 8.5h4.5v5h-4.5z M2.5 11h4.5v2.5h-4.5z",
  peers:
    "M8 6.2a1.8 1.8 0 1 0 0-3.6a1.8 1.8 0 0 0 0 3.6z M3.3 13.4a1.8 1.8 0 1 0 0-3.6a1.8 1.8 0 0 0 0 3.6z " +
    "M12.7 13.4a1.8 1.8 0 1 0 0-3.6a1.8 1.8 0 0 0 0 3.6z M7.1 6l-2.9 4.1 M8.9 6l2.9 4.1 M5.1 11.6h5.8",
  lookups:
    "M8 13.5a5.5 5.5 0 1 0 0-11a5.5 5.5 0 0 0 0 11z M8 10.2a2.2 2.2 0 1 0 0-4.4a2.2 2.2 0 0 0 0 4.4z " +
    "M8 1v2 M8 13v2 M1 8h2 M13 8h2",
  values: "M8 1.8l5.4 3v6.4l-5.4 3l-5.4-3v-6.4z M2.8 5l5.2 2.9l5.2-2.9 M8 8v6",
  events: "M1.5 8.5h2.6l1.9-5.5l3.2 10l2.1-6l0.9 1.5h2.3",
  node: "M2.5 3h11v4h-11z M2.5 9h11v4h-11z M5 5h.01 M5 11h.01 M8 5h3 M8 11h3",
  copy: "M5.5 5.5h8v8h-8z M10.5 5.5v-3h-8v8h3",
  check: "M3 8.5l3.5 3.5l6.5-7.5",
  sun:
    "M8 10.8a2.8 2.8 0 1 0 0-5.6a2.8 2.8 0 0 0 0 5.6z M8 1.5v1.3 M8 13.2v1.3 M1.5 8h1.3 M13.2 8h1.3 " +
    "M3.4 3.4l.9.9 M11.7 11.7l.9.9 M12.6 3.4l-.9.9 M4.3 11.7l-.9.9",
  moon: "M13.2 9.6a5.6 5.6 0 0 1-6.8-6.8a5.6 5.6 0 1 0 6.8 6.8z",
  system: "M2 3h12v8h-12z M6 13.5h4 M8 11v2.5",
  pause: "M5.5 3.5v9 M10.5 3.5v9",
  play: "M4.5 3l8 5l-8 5z",
  download: "M8 2.5v7.5 M4.8 7l3.2 3.2l3.2-3.2 M3 13.3h10",
  upload: "M8 10.5v-7.5 M4.8 6l3.2-3.2l3.2 3.2 M3 13.3h10",
  forget: "M3 4.5h10 M6.5 4.5v-2h3v2 M4.3 4.5l.6 9h6.2l.6-9",
  close: "M4 4l8 8 M12 4l-8 8",
  ping:
    "M8 9.2a1.2 1.2 0 1 0 0-2.4a1.2 1.2 0 0 0 0 2.4z M5.2 10.8a4 4 0 0 1 0-5.6 M10.8 5.2a4 4 0 0 1 0 5.6 " +
    "M3.2 12.8a6.8 6.8 0 0 1 0-9.6 M12.8 3.2a6.8 6.8 0 0 1 0 9.6",
  search: "M7 11.5a4.5 4.5 0 1 0 0-9a4.5 4.5 0 0 0 0 9z M10.3 10.3l3.4 3.4",
  random:
    "M2 4.5h2.5c3.5 0 3.5 7 7 7h2.5 M11.8 9.3l2.2 2.2l-2.2 2.2 M2 11.5h2.5c1 0 1.7-.6 2.2-1.4 " +
    "M9.3 5.9c.5-.8 1.2-1.4 2.2-1.4h2.5 M11.8 2.3l2.2 2.2l-2.2 2.2",
  key:
    "M5.2 13.3a2.9 2.9 0 1 0 0-5.8a2.9 2.9 0 0 0 0 5.8z M7.3 8.4l5.5-5.7 M10.3 5.2l2 2 M12.8 2.7l1 1",
  back: "M9.5 3.5l-4.5 4.5l4.5 4.5",
  warning: "M8 2.2l6.2 11.3h-12.4z M8 6.5v3.2 M8 11.6h.01",
  lost:
    "M2 6.3a8.6 8.6 0 0 1 3-1.9 M8.3 3.8a8.6 8.6 0 0 1 5.7 2.5 M4.3 8.7a5.4 5.4 0 0 1 2.5-1.4 M10.6 8a5.4 5.4 0 0 1 1.1.7 " +
    "M8 12.2h.01 M2.5 2l11 12",
  retry: "M13.3 8a5.3 5.3 0 1 1-1.5-3.7 M13.5 2v3.2h-3.2",
};

/** For the eye alone: what it stands beside says the same in words. @param {{ name: string, size?: number }} props */
export function Icon({ name, size = 16 }) {
  return h(
    "svg",
    { class: "icon", viewBox: "0 0 16 16", width: size, height: size, "aria-hidden": "true" },
    h("path", { d: PATHS[name] }),
  );
}
