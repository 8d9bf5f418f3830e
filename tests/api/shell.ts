// Runs shell commands from the documentation against a node's API, with the installed curl.

import assert from "node:assert/strict";

/** The message of curl when --max-time ends a stream. */
const TIMED_OUT = 28;

/** The result of a script. */
export interface Ran {
  readonly code: number;
  readonly output: string;
  readonly error: string;
}

/** Runs a shell script. curl fails if the status is 400 or more, and streams end after a second. */
export async function sh(script: string, env: Readonly<Record<string, string>> = {}): Promise<Ran> {
  const { code, stdout, stderr } = await new Deno.Command("sh", {
    args: [
      "-euc",
      `curl() { command curl --silent --fail-with-body --max-time 20 "$@"; }\n${script}`,
    ],
    env: { ...env },
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  return { code, output: decoder.decode(stdout), error: decoder.decode(stderr) };
}

/** Asserts that a script succeeds. */
export async function runs(
  script: string,
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const { code, output, error } = await sh(script, env);
  assert.equal(code, 0, `${script}\nended with ${code}:\n${output}\n${error}`);
  return output;
}

/** Returns the beginning of a stream that does not end by itself. */
export async function begins(script: string): Promise<string> {
  const { code, output, error } = await sh(script.replaceAll("curl ", "curl --max-time 2 "));
  assert.equal(code, TIMED_OUT, `${script}\nended with ${code}:\n${output}\n${error}`);
  return output;
}
