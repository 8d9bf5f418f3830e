// Draws the measurements of a soak as a page with one SVG picture for each measure.

import type { Point } from "./slopes.ts";

const WIDTH = 900, HEIGHT = 260, LEFT = 60, BOTTOM = 30, TOP = 10;

export interface Line {
  readonly color: string;
  readonly label: string;
  readonly points: readonly Point[];
}

export interface Picture {
  readonly title: string;
  readonly unit: string;
  /** One sentence about the slope. */
  readonly verdict: string;
  readonly lines: readonly Line[];
  /** The end of the warm-up. */
  readonly fromHours: number;
}

/** Returns a page of HTML that needs no other file. */
export function page(title: string, pictures: readonly Picture[]): string {
  const parts = pictures.map((picture) =>
    `<h2>${picture.title}</h2>\n<p>${picture.verdict}</p>\n${svg(picture)}`
  );
  return [
    '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">',
    `<title>${title}</title>`,
    "<style>body { font: 16px sans-serif; margin: 2em } text { font: 12px sans-serif }</style>",
    `<h1>${title}</h1>`,
    ...parts,
    "</html>\n",
  ].join("\n");
}

function svg({ title, unit, lines, fromHours }: Picture): string {
  const points = lines.flatMap((line) => line.points);
  const hours = Math.max(...points.map((point) => point.hours), Number.MIN_VALUE);
  const top = Math.max(...points.map(({ value }) => value), 1);
  const x = (at: number) => LEFT + at / hours * (WIDTH - LEFT);
  const y = (value: number) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  const paths = lines.map(({ color, label, points }) => {
    const path = points.map(({ hours, value }) => `${x(hours).toFixed(1)},${y(value).toFixed(1)}`);
    return `<polyline fill="none" stroke="${color}" points="${
      path.join(" ")
    }"><title>${label}</title></polyline>`;
  });
  const marks = [0, top / 2, top].map((value) =>
    `<text x="0" y="${y(value) + 4}">${+value.toPrecision(3)} ${unit}</text>` +
    `<line x1="${LEFT}" x2="${WIDTH}" y1="${y(value)}" y2="${y(value)}" stroke="#ddd"/>`
  );
  const warmUp =
    `<rect x="${LEFT}" y="${TOP}" width="${x(fromHours) - LEFT}" height="${
      HEIGHT - TOP - BOTTOM
    }" fill="#eee"/>` +
    `<text x="${LEFT + 4}" y="${TOP + 14}">warm-up</text>`;
  const axis = `<text x="${WIDTH - 60}" y="${HEIGHT - 8}">${(hours * 60).toFixed(0)} min</text>`;
  return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" role="img" aria-label="${title}">` +
    [warmUp, ...marks, ...paths, axis].join("\n") + "</svg>";
}
