// Components that are loaded when they are first shown, so that the first load of the page stays small.

import { h } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Note } from "./parts.js";

/**
 * Returns a component that loads another one, and then shows it.
 *
 * @template P
 * @param {() => Promise<import("preact").FunctionComponent<P>>} load
 * @returns {import("preact").FunctionComponent<P>}
 */
export function lazy(load) {
  /** @type {import("preact").FunctionComponent<P> | null} */
  let component = null;
  return function Lazy(props) {
    const [state, setState] = useState(/** @type {"loading" | "loaded" | "failed"} */ ("loading"));
    useEffect(() => {
      if (component !== null) return;
      let isShown = true;
      const end = (/** @type {typeof state} */ next) => {
        if (isShown) setState(next);
      };
      load().then((loaded) => {
        component = loaded;
        end("loaded");
      }, () => end("failed"));
      return () => void (isShown = false);
    }, []);
    if (component !== null) {
      return h(/** @type {import("preact").FunctionComponent<any>} */ (component), props);
    }
    if (state !== "failed") return h("p", { class: "loading" }, "Loading…");
    return h(
      Note,
      { tone: "bad" },
      "A part of this page failed to load. ",
      h(
        "button",
        { type: "button", class: "link", onClick: () => location.reload() },
        "Reload the page",
      ),
    );
  };
}
