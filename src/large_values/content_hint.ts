// Detects whether a streamed value is JSON, other text or binary data.

import { literal } from "../krpc/bencode.ts";
import type { ContentHint } from "./manifest.ts";

/** Detects the kind of a value that is added chunk by chunk. */
export class ContentGuess {
  readonly #decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  readonly #json = new JsonChecker();
  #isText = true;

  add(bytes: Uint8Array): void {
    this.#decode(bytes, true);
    if (this.#isText) this.#json.add(bytes);
  }

  /** Returns the detected kind of the value. Call this method after adding the last byte. */
  end(): ContentHint {
    this.#decode(new Uint8Array(0), false);
    if (!this.#isText) return "binary";
    return this.#json.isComplete() ? "json" : "text";
  }

  #decode(bytes: Uint8Array, stream: boolean): void {
    if (!this.#isText) return;
    try {
      this.#decoder.decode(bytes, { stream });
    } catch {
      this.#isText = false;
    }
  }
}

/** The transitions of one state. Each key lists the bytes that lead to the same next state. */
type Rule = Readonly<Record<string, string>>;

const DIGITS = "0123456789", HEX_DIGITS = `${DIGITS}abcdefABCDEF`, SPACE = " \t\n\r";
/** The bytes that need no escape within a JSON string. */
const PLAIN = String.fromCharCode(...Array(256).keys()).slice(0x20).replace(/["\\]/g, "");

const VALUE: Rule = {
  '"': "string",
  "-": "minus",
  "0": "zero",
  "123456789": "digits",
  "[": "open list",
  "{": "open object",
  t: "t",
  f: "f",
  n: "n",
};
const VALUE_END: Rule = {
  ",": "comma",
  "]": "close list",
  "}": "close object",
  [SPACE]: "after value",
};

/**
 * The transitions of each state while reading a JSON text (RFC 8259). All bytes that are not listed lead to the state
 * "never": the text is not JSON.
 */
const RULES: Record<string, Rule> = {
  "never": {},
  "value": { ...VALUE, [SPACE]: "value" },
  "after value": VALUE_END,
  "first of list": { ...VALUE, [SPACE]: "first of list", "]": "close list" },
  "first of object": { '"': "name", [SPACE]: "first of object", "}": "close object" },
  "next of object": { '"': "name", [SPACE]: "next of object" },
  "colon": { ":": "value", [SPACE]: "colon" },
  "minus": { "0": "zero", "123456789": "digits" },
  "zero": { ...VALUE_END, ".": "point", eE: "exponent" },
  "digits": { ...VALUE_END, [DIGITS]: "digits", ".": "point", eE: "exponent" },
  "point": { [DIGITS]: "decimals" },
  "decimals": { ...VALUE_END, [DIGITS]: "decimals", eE: "exponent" },
  "exponent": { "+-": "exponent sign", [DIGITS]: "exponent digits" },
  "exponent sign": { [DIGITS]: "exponent digits" },
  "exponent digits": { ...VALUE_END, [DIGITS]: "exponent digits" },
};
for (const [string, end] of [["string", "after value"], ["name", "colon"]]) {
  RULES[string] = { '"': end, "\\": `${string} \\`, [PLAIN]: string };
  RULES[`${string} \\`] = { '"\\/bfnrt': string, u: `${string} u` };
  RULES[`${string} u`] = { [HEX_DIGITS]: `${string} u1` };
  RULES[`${string} u1`] = { [HEX_DIGITS]: `${string} u2` };
  RULES[`${string} u2`] = { [HEX_DIGITS]: `${string} u3` };
  RULES[`${string} u3`] = { [HEX_DIGITS]: string };
}
for (const word of ["true", "false", "null"]) {
  for (let i = 1; i < word.length; i++) {
    const isLast = i === word.length - 1;
    RULES[word.slice(0, i)] = { [word[i]]: isLast ? "after value" : word.slice(0, i + 1) };
  }
}

/** The names of all states. `NAMES` also contains the transitions whose next state depends on the open brackets. */
const STATES = Object.keys(RULES);
const NAMES = [...STATES, "comma", "open list", "open object", "close list", "close object"];
/** All rules as one lookup table. The next state is `NEXT[256 * state + byte]`. */
const NEXT = new Uint8Array(256 * STATES.length);
for (const [state, name] of STATES.entries()) {
  for (const [bytes, next] of Object.entries(RULES[name])) {
    for (const byte of literal(bytes)) NEXT[256 * state + byte] = NAMES.indexOf(next);
  }
}
const NEVER = STATES.indexOf("never");

/**
 * The maximum nesting depth of JSON. A deeper text counts as plain text: nesting costs memory here, and overflows the
 * stack of many JSON parsers.
 */
const MAX_NESTING = 10_000;

/**
 * Checks incrementally whether UTF-8 bytes are one JSON text. The memory that it needs grows only with the nesting
 * depth.
 */
export class JsonChecker {
  #state = STATES.indexOf("value");
  /** For each open bracket, whether it belongs to an object (and not to an array). */
  readonly #isObject: boolean[] = [];

  /** Adds the next bytes. The caller has checked that they are valid UTF-8. */
  add(bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length && this.#state !== NEVER; i++) {
      const next = NEXT[256 * this.#state + bytes[i]];
      this.#state = next < STATES.length ? next : STATES.indexOf(this.#afterBracket(NAMES[next]));
    }
  }

  /** Whether the bytes added so far are exactly one JSON text. */
  isComplete(): boolean {
    return this.#isObject.length === 0 && "," in RULES[STATES[this.#state]];
  }

  /** Returns the state after a bracket or a comma. */
  #afterBracket(name: string): string {
    const open = this.#isObject, isObject = name.endsWith("object");
    if (name === "comma") {
      return open.length === 0 ? "never" : open.at(-1) ? "next of object" : "value";
    }
    if (name.startsWith("close")) return open.pop() === isObject ? "after value" : "never";
    if (open.push(isObject) > MAX_NESTING) return "never";
    return isObject ? "first of object" : "first of list";
  }
}
