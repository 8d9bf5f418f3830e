// A sortable table that draws only the visible rows, so that thousands of rows stay fast.

import { h } from "preact";
import { useMemo, useRef, useState } from "preact/hooks";
import { useParameter } from "./hooks.js";

/**
 * @template R
 * @typedef {object} Column
 * @property {string} key
 * @property {string} label
 * @property {(row: R) => import("preact").ComponentChildren} cell
 * @property {(row: R) => string | number | null} [by] the sort value, null sorts last; a column without it is not sortable
 * @property {"descending"} [first] sort direction of the first click; ascending by default
 * @property {string} [class] of its cells: num for numbers, wide if narrow pages omit the column
 */

/** The number of rows that are drawn above and below the visible ones, for smooth scrolling. */
const AROUND = 12;
/** Tables with up to this number of rows draw all of them, so that the browser's own search finds them. */
const ALL = 150;

/**
 * @template R
 * @typedef {object} TableProps
 * @property {string} caption
 * @property {readonly Column<R>[]} columns
 * @property {readonly R[]} rows
 * @property {(row: R) => string} keyOf
 * @property {string} sortedBy the key of a column
 * @property {"ascending" | "descending"} [direction]
 * @property {string} [parameter] the parameter of the page's address that keeps the order
 * @property {number} [rowHeight] in CSS pixels
 * @property {unknown} [version] rows are sorted again if it or their number changes; `rows` by default
 * @property {(row: R | null) => void} [onPoint]
 * @property {string | null} [pointed] the key of a row
 * @property {string} [class]
 */

/**
 * A table. This is a plain function, not a component, because `h` cannot infer the type of the
 * rows.
 *
 * @template R
 * @param {TableProps<R>} props
 */
export function table(props) {
  return h(/** @type {import("preact").FunctionComponent<TableProps<R>>} */ (Table), props);
}

/**
 * @template R
 * @param {TableProps<R>} props
 */
function Table(
  {
    caption,
    columns,
    rows,
    keyOf,
    sortedBy,
    direction = "ascending",
    parameter,
    rowHeight = 37,
    version,
    onPoint,
    pointed = null,
    class: name = "",
  },
) {
  const [order, setOrder] = useParameter(
    parameter ?? null,
    `${direction === "descending" ? "-" : ""}${sortedBy}`,
  );
  const sort = useMemo(() => sortOf(order), [order]);
  const [top, setTop] = useState(0);
  const frame = useRef(/** @type {HTMLDivElement | null} */ (null));
  const by = columns.find(({ key }) => key === sort.key)?.by;
  const sorted = useMemo(
    () => by === undefined ? rows : sortRows(rows, sort.direction, { by, keyOf }),
    [version ?? rows, rows.length, sort, by === undefined],
  );
  const isWhole = sorted.length <= ALL;
  const shown = (frame.current?.clientHeight || 640) / rowHeight;
  const start = isWhole ? 0 : Math.max(0, Math.floor(top / rowHeight) - AROUND);
  const end = isWhole
    ? sorted.length
    : Math.min(sorted.length, Math.ceil(start + shown + 2 * AROUND));
  const choose = (/** @type {Column<R>} */ column) => {
    const first = column.first ?? "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const next = sort.key === column.key && sort.direction === first ? other : first;
    setOrder(`${next === "descending" ? "-" : ""}${column.key}`);
    frame.current?.scrollTo({ top: 0 });
  };
  return h(
    "div",
    {
      class: `table-frame ${name}`,
      ref: frame,
      tabIndex: 0,
      role: "region",
      "aria-label": caption,
      onScroll: (event) => {
        if (isWhole) return;
        const { scrollTop } = event.currentTarget;
        // Redraw only after scrolling by half of the extra rows, not after each pixel.
        if (Math.abs(scrollTop - top) > AROUND * rowHeight / 2) setTop(scrollTop);
      },
    },
    h(
      "table",
      { "aria-rowcount": sorted.length + 1 },
      h("caption", { class: "visually-hidden" }, caption),
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          columns.map((column) =>
            h(
              "th",
              {
                key: column.key,
                scope: "col",
                class: column.class ?? "",
                "aria-sort": sort.key === column.key ? sort.direction : undefined,
              },
              column.by === undefined ? column.label : h(
                "button",
                { type: "button", class: "sort", onClick: () => choose(column) },
                column.label,
                h("span", { class: "sort-arrow", "aria-hidden": "true" }),
              ),
            )
          ),
        ),
      ),
      h(
        "tbody",
        { onPointerLeave: onPoint && (() => onPoint(null)) },
        spacer("above", start * rowHeight, columns.length),
        sorted.slice(start, end).map((row, i) => {
          const key = keyOf(row);
          return h(
            "tr",
            {
              key,
              "aria-rowindex": start + i + 2,
              class: key === pointed ? "pointed" : "",
              onPointerEnter: onPoint && (() => onPoint(row)),
              onFocusIn: onPoint && (() => onPoint(row)),
            },
            columns.map((column, n) =>
              h(
                n === 0 ? "th" : "td",
                { key: column.key, class: column.class ?? "", scope: n === 0 ? "row" : undefined },
                column.cell(row),
              )
            ),
          );
        }),
        spacer("below", (sorted.length - end) * rowHeight, columns.length),
      ),
    ),
  );
}

/**
 * An empty row that takes the place of the rows that are not drawn.
 *
 * @param {string} key @param {number} height @param {number} columns
 */
function spacer(key, height, columns) {
  if (height <= 0) return null;
  return h(
    "tr",
    { key, class: "spacer", "aria-hidden": "true" },
    h("td", { colSpan: columns, style: { height: `${height}px` } }),
  );
}

/** Reads an order such as `-score`. @param {string} order */
function sortOf(order) {
  const isDown = order.startsWith("-");
  return {
    key: isDown ? order.slice(1) : order,
    direction: isDown ? /** @type {const} */ ("descending") : /** @type {const} */ ("ascending"),
  };
}

/**
 * @template R
 * @param {readonly R[]} rows
 * @param {"ascending" | "descending"} direction
 * @param {{ by: (row: R) => string | number | null, keyOf: (row: R) => string }} columns
 */
export function sortRows(rows, direction, { by, keyOf }) {
  const sign = direction === "ascending" ? 1 : -1;
  return rows.map((row) => ({ row, value: by(row), key: keyOf(row) }))
    .sort((a, b) => {
      if (a.value === b.value) return a.key < b.key ? -1 : 1;
      if (a.value === null) return 1;
      if (b.value === null) return -1;
      return a.value < b.value ? -sign : sign;
    })
    .map(({ row }) => row);
}
