// The script of the API's reference page: search, copy buttons, and forms that send requests.

import { writeClipboard } from "./clipboard.js";
import { element } from "./element.js";
import { addTryButtons } from "./docs_try.js";

/** The time for which a button says that it has copied. */
const CONFIRM_MS = 1_500;

/** A searchable part of the page, with the links to it in the tables of contents. */
class Entry {
  /** @param {HTMLElement} part @param {string} text */
  constructor(part, text) {
    this.part = part;
    this.text = text.toLowerCase();
    /** @type {HTMLElement[]} */
    this.links = [];
    for (const link of document.querySelectorAll(`nav a[href="#${part.id}"]`)) {
      const item = link.closest("li");
      if (item !== null) this.links.push(item);
    }
  }

  /** @param {readonly string[]} words */
  matches(words) {
    return words.every((word) => this.text.includes(word));
  }

  /** @param {boolean} isShown */
  show(isShown) {
    this.part.hidden = !isShown;
    for (const link of this.links) link.hidden = !isShown;
  }
}

/** Collects the text of an article without that of its responses and examples, which repeat words of other articles. */
function entries() {
  return Array.from(document.querySelectorAll("article"), (article) => {
    if (article.id === "event-types") return new Entry(article, article.textContent);
    const copy = /** @type {HTMLElement} */ (article.cloneNode(true));
    for (const each of copy.querySelectorAll(".response, .shown, .note")) each.remove();
    return new Entry(article, copy.textContent);
  });
}

function addSearch() {
  const input = /** @type {HTMLInputElement} */ (document.getElementById("search"));
  const status = /** @type {HTMLElement} */ (document.getElementById("matches"));
  input.hidden = false;
  /** @type {Entry[] | undefined} */
  let all;
  const search = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter((word) => word !== "");
    let count = 0;
    all ??= entries();
    for (const entry of all) {
      const isShown = entry.matches(words);
      entry.show(isShown);
      if (isShown) count++;
    }
    document.body.classList.toggle("searching", words.length > 0);
    for (const part of document.querySelectorAll("section.part")) {
      /** @type {HTMLElement} */ (part).hidden =
        part.querySelector("article:not([hidden])") === null;
    }
    status.textContent = words.length === 0
      ? ""
      : count === 0
      ? `Nothing matches “${input.value.trim()}”. Search for part of a path, a parameter or a word of a description.`
      : `${count} of ${all.length} entries match “${input.value.trim()}”.`;
    if (words.length > 0) scrollTo(0, 0);
  };
  input.addEventListener("input", search);
  document.addEventListener("keydown", (event) => {
    const { target } = event;
    const isTyping = target instanceof Element && target.matches("input, textarea, select");
    if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      input.focus();
    } else if (event.key === "Escape" && target === input && input.value !== "") {
      input.value = "";
      search();
    }
  });
  // A link to a part that the search has hidden ends the search. Otherwise, the link would lead nowhere.
  addEventListener("hashchange", () => {
    const part = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (part === null || part.closest("[hidden]") === null) return;
    input.value = "";
    search();
    part.scrollIntoView();
  });
}

/** Adds a button to each example. The button copies the text in the language that is shown. */
function addCopyButtons() {
  for (const caption of document.querySelectorAll("figcaption")) {
    const figure = /** @type {HTMLElement} */ (caption.parentElement);
    const button = element("button", { type: "button", class: "copy" }, "Copy");
    const what = caption.textContent.trim();
    button.setAttribute("aria-label", `Copy: ${what}`);
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    button.addEventListener("click", async () => {
      const shown = Array.from(figure.querySelectorAll("pre")).find((pre) =>
        pre.offsetParent !== null
      );
      const copied = await writeClipboard(shown?.textContent ?? "");
      button.textContent = copied ? "Copied" : "Not copied";
      button.setAttribute("aria-label", `${button.textContent}: ${what}`);
      clearTimeout(timer);
      timer = setTimeout(() => {
        button.textContent = "Copy";
        button.setAttribute("aria-label", `Copy: ${what}`);
      }, CONFIRM_MS);
    });
    caption.append(button);
  }
}

addSearch();
addCopyButtons();
addTryButtons();
