// The form that opens the page of a value by its hash or link.

import { h } from "preact";
import { useEffect, useState } from "preact/hooks";
import { useParameter } from "./hooks.js";
import { Icon } from "./icons.js";
import { isId } from "./ids.js";
import { Card, Field } from "./parts.js";
import { open } from "./routes.js";
import { parseSealLink, sealLink } from "./seal.js";

export const INCOMPLETE_LINK = "A link is dm:, 40 hex digits, # and 22 characters.";

/**
 * @param {{ hash: string | null, onAgain?: () => void }} props `hash`: the value whose page is open; `onAgain`: called
 * if the form names this value again
 */
export function FetchCard({ hash: given, onAgain }) {
  const [givenKey] = useParameter("key");
  const [givenSeal] = useParameter("seal");
  const shown = given === null || givenSeal === "" ? given : sealLink(given, givenSeal);
  const [hash, setHash] = useState(shown ?? "");
  const [key, setKey] = useState(givenKey);
  useEffect(() => {
    if (shown !== null) setHash(shown);
    setKey(givenKey);
  }, [shown, givenKey]);
  const link = parseSealLink(hash), wanted = link?.hash ?? hash.trim().toLowerCase();
  const seal = link?.key ?? "";
  const isWrong = wanted !== "" && !isId(wanted);
  return h(
    Card,
    { title: "Fetch", id: "fetch-title", class: "fetch-card" },
    h(
      "form",
      {
        class: "fetch-form",
        onSubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          if (!isId(wanted)) return;
          if (wanted === given && key === givenKey && seal === givenSeal) onAgain?.();
          else open(`#/values/${wanted}`, { key, seal });
        },
      },
      h(Field, {
        label: "Hash or link",
        id: "hash",
        class: "mono",
        value: hash,
        placeholder: "40 hex digits, or dm:…#…",
        autocapitalize: "off",
        error: !isWrong
          ? null
          : wanted.startsWith("dm:")
          ? INCOMPLETE_LINK
          : `A hash has 40 hex digits. This one has ${wanted.length} characters.`,
        onChange: setHash,
      }),
      h(Field, {
        label: "Key",
        hint: "only needed if the holders do not send it",
        id: "fetch-key",
        value: key,
        onChange: setKey,
      }),
      h(
        "div",
        { class: "buttons" },
        h(
          "button",
          { type: "submit", class: "primary", disabled: !isId(wanted) },
          h(Icon, { name: "download" }),
          "Fetch",
        ),
      ),
    ),
  );
}
