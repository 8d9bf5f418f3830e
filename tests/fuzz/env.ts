// Fuzzing of .env files: each is read, or refused with one line that names a place.

import assert from "node:assert/strict";
import fc from "fast-check";
import { ENV_NAMES, loadConfig } from "../../src/config.ts";
import { envVariables } from "../../src/config/env_file.ts";
import { ConfigError } from "../../src/config/text.ts";
import type { Subject } from "./subject.ts";

const names = fc.constantFrom(...ENV_NAMES, "ALLOW_NET", "__proto__", "a.b-c", "P2P_PROT");

const values = fc.oneof(
  fc.constantFrom(
    ...["0", "-1", "1e3", "65536", "NaN", "true", "*", "::1", "0.0.0.0", "10.0.0.0/33", "[::1]:1"],
    ...["a.b:1,c.d:2", "x".repeat(2_000), "debug", "json", "9007199254740993", "./data\0", "💾"],
  ),
  fc.integer().map(String),
  fc.string({ maxLength: 40 }),
  fc.string({ unit: "binary", maxLength: 20 }),
);

const marks = fc.constantFrom("", "", "", '"', "'", "`");

const lines = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      before: fc.constantFrom("", "", " ", "export ", "\uFEFF", "#"),
      name: names,
      between: fc.constantFrom("=", "=", " = ", ": ", "", "=="),
      open: marks,
      value: values,
      close: marks,
      after: fc.constantFrom("", "", " # comment", "#", " x", "\\"),
    }).map((line) => Object.values(line).join("")),
  },
  { weight: 1, arbitrary: fc.string({ unit: "binary", maxLength: 60 }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom("", "\\", '"', "'", "`", "=", "export", '\\"', "\u2028"),
  },
);

export interface EnvInput {
  readonly lines: string[];
  readonly end: string;
  /** How many times the file contains these lines. */
  readonly repeats: number;
}

function check({ lines, end, repeats }: EnvInput): void {
  const envFile = (lines.join(end) + end).repeat(repeats);
  // The client commands skip lines that are not assignments.
  for (const value of Object.values(envVariables(envFile))) assert.equal(typeof value, "string");
  const readSecret = () => {
    throw new Error("there is no such file");
  };
  try {
    const { warnings } = loadConfig({ envFile, readSecret });
    for (const warning of warnings) assertOneLine(warning);
  } catch (error) {
    assert.ok(error instanceof ConfigError, `${(error as Error).stack}`);
    assertOneLine(error.message);
    assert.match(error.message, /\.env|API_TOKEN|must|needs/);
  }
}

function assertOneLine(text: string): void {
  // deno-lint-ignore no-control-regex
  assert.doesNotMatch(text, /[\x00-\x1f\x7f-\x9f\u2028\u2029]/, JSON.stringify(text));
  assert.ok(text.length < 600, `${text.length} characters`);
}

export const ENV: Subject<EnvInput> = {
  name: "env",
  inputs: fc.record({
    lines: fc.array(lines, { maxLength: 12 }),
    end: fc.constantFrom("\n", "\n", "\r\n", "\r"),
    repeats: fc.constantFrom(1, 1, 1, 1, 1, 1, 1, 200),
  }),
  check,
};
