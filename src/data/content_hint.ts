// Tells JSON, other text and binary apart while a value streams by.

import { literal } from "../krpc/bencode.ts";
import type { ContentHint } from "./manifest.ts";

/** Looks at a value piece by piece. */
export class ContentGuess {
  readonly #decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  readonly #json = new JsonChecker();
  #isText = true;

  /** Takes in the next bytes. */
  add(bytes: Uint8Array): void {
    this.#decode(bytes, true);
    if (this.#isText) this.#json.add(bytes);
  }

  /** After the last byte: what it was. */
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

/** Where in a JSON text the next byte is. Those in {@link NUMBER} are inside a number. */
type State =
  | "value"
  /** After `[`. */
  | "first of list"
  /** After `{`. */
  | "first of object"
  /** After the comma of an object. */
  | "name"
  | "colon"
  /** After a value: a comma, a closing bracket, or the end of the text. */
  | "after value"
  | "string"
  | "escape"
  /** The four digits of `\u`. */
  | "hex"
  /** The rest of `true`, `false` or `null`. */
  | "literal"
  | NumberState
  /** It is no JSON, whatever follows. */
  | "never";

type NumberState =
  | "minus"
  | "zero"
  | "digits"
  | "point"
  | "decimals"
  | "exponent"
  | "exponent sign"
  | "exponent digits";

/** What may follow in a number: by kind of byte, and with `end` where the number may be over. */
interface NumberRule {
  readonly zero?: NumberState;
  readonly digit?: NumberState;
  readonly point?: NumberState;
  readonly e?: NumberState;
  readonly sign?: NumberState;
  readonly end?: true;
}

const NUMBER: { readonly [S in State]?: NumberRule } = {
  "minus": { zero: "zero", digit: "digits" },
  "zero": { point: "point", e: "exponent", end: true },
  "digits": { zero: "digits", digit: "digits", point: "point", e: "exponent", end: true },
  "point": { zero: "decimals", digit: "decimals" },
  "decimals": { zero: "decimals", digit: "decimals", e: "exponent", end: true },
  "exponent": { zero: "exponent digits", digit: "exponent digits", sign: "exponent sign" },
  "exponent sign": { zero: "exponent digits", digit: "exponent digits" },
  "exponent digits": { zero: "exponent digits", digit: "exponent digits", end: true },
};

/** Deeper nesting counts as text: it costs memory here, and the stack of many a reader. */
const MAX_NESTING = 10_000;

const QUOTE = 0x22,
  PLUS = 0x2b,
  COMMA = 0x2c,
  MINUS = 0x2d,
  POINT = 0x2e,
  ZERO = 0x30,
  COLON = 0x3a;
const OPEN_LIST = 0x5b,
  BACKSLASH = 0x5c,
  CLOSE_LIST = 0x5d,
  OPEN_OBJECT = 0x7b,
  CLOSE_OBJECT = 0x7d;
const UPPER_E = 0x45, LOWER_E = 0x65, LOWER_U = 0x75;
const LITERALS = new Map(["true", "false", "null"].map(literal).map((text) => [text[0], text]));
const ESCAPES = new Set(literal('"\\/bfnrt'));

/** Whether UTF-8 bytes are one JSON text (RFC 8259), checked byte by byte in the memory that the nesting needs. */
export class JsonChecker {
  #state: State = "value";
  /** Of each open bracket: whether it is an object's. */
  readonly #isObject: boolean[] = [];
  /** The string being read is a member's name. */
  #isName = false;
  #literal: Uint8Array = new Uint8Array(0);
  /** Bytes read of the literal or of the hex digits. */
  #read = 0;

  /** Takes in the next bytes, which the caller knows to be UTF-8. */
  add(bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length && this.#state !== "never"; i++) {
      this.#state = this.#next(bytes[i]);
    }
  }

  /** Whether what was taken in is one JSON text. */
  isComplete(): boolean {
    const isEnd = this.#state === "after value" || NUMBER[this.#state]?.end === true;
    return isEnd && this.#isObject.length === 0;
  }

  #next(c: number): State {
    switch (this.#state) {
      case "string":
        if (c === QUOTE) return this.#isName ? "colon" : "after value";
        return c === BACKSLASH ? "escape" : c < 0x20 ? "never" : "string";
      case "escape":
        this.#read = 0;
        return c === LOWER_U ? "hex" : ESCAPES.has(c) ? "string" : "never";
      case "hex":
        if (!isHexDigit(c)) return "never";
        return ++this.#read === 4 ? "string" : "hex";
      case "literal":
        if (c !== this.#literal[this.#read]) return "never";
        return ++this.#read === this.#literal.length ? "after value" : "literal";
    }
    const rule = NUMBER[this.#state];
    if (rule === undefined) return this.#between(this.#state, c);
    const kind = kindInNumber(c), next = kind && rule[kind];
    if (next !== undefined) return next;
    return rule.end ? this.#between("after value", c) : "never";
  }

  /** A byte between tokens, or the first of one. */
  #between(state: State, c: number): State {
    if (c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09) return state;
    const isClosing = c === CLOSE_LIST || c === CLOSE_OBJECT;
    switch (state) {
      case "first of list":
        return c === CLOSE_LIST ? this.#close(c) : this.#startValue(c);
      case "value":
        return this.#startValue(c);
      case "first of object":
        return c === CLOSE_OBJECT ? this.#close(c) : this.#startName(c);
      case "name":
        return this.#startName(c);
      case "colon":
        return c === COLON ? "value" : "never";
      default: // after a value
        if (isClosing) return this.#close(c);
        if (c !== COMMA || this.#isObject.length === 0) return "never";
        return this.#isObject.at(-1) ? "name" : "value";
    }
  }

  #startName(c: number): State {
    this.#isName = true;
    return c === QUOTE ? "string" : "never";
  }

  #startValue(c: number): State {
    this.#isName = false;
    switch (c) {
      case QUOTE:
        return "string";
      case OPEN_LIST:
      case OPEN_OBJECT:
        this.#isObject.push(c === OPEN_OBJECT);
        if (this.#isObject.length > MAX_NESTING) return "never";
        return c === OPEN_OBJECT ? "first of object" : "first of list";
      case MINUS:
        return "minus";
      case ZERO:
        return "zero";
    }
    if (isDigit(c)) return "digits";
    const text = LITERALS.get(c);
    if (text === undefined) return "never";
    this.#literal = text;
    this.#read = 1;
    return "literal";
  }

  #close(bracket: number): State {
    return this.#isObject.pop() === (bracket === CLOSE_OBJECT) ? "after value" : "never";
  }
}

function kindInNumber(c: number): Exclude<keyof NumberRule, "end"> | undefined {
  switch (c) {
    case ZERO:
      return "zero";
    case POINT:
      return "point";
    case LOWER_E:
    case UPPER_E:
      return "e";
    case PLUS:
    case MINUS:
      return "sign";
  }
  return isDigit(c) ? "digit" : undefined;
}

function isDigit(c: number): boolean {
  return c >= 0x30 && c <= 0x39;
}

function isHexDigit(c: number): boolean {
  return isDigit(c) || (c >= 0x41 && c <= 0x46) || (c >= 0x61 && c <= 0x66);
}
