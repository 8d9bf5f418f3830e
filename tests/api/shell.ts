// Runs lines of documentation in a shell, with curl as it is installed, against a node's API.

import assert from "node:assert/strict";

/** What curl says when --max-time ends a stream that would go on. */
const TIMED_OUT = 28;

/** How a script ended. */
export interface Ran {
  readonly code: number;
  readonly output: string;
  readonly error: string;
}

/** Runs a script of sh; curl fails on a status of 400 or more, and streams end after a second. */
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

/** Fails unless a script ends well. */
export async function runs(
  script: string,
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const { code, output, error } = await sh(script, env);
  assert.equal(code, 0, `${script}\nended with ${code}:\n${output}\n${error}`);
  return output;
}

/** The beginning of a stream that would go on without an end. */
export async function begins(script: string): Promise<string> {
  const { code, output, error } = await sh(script.replaceAll("curl ", "curl --max-time 2 "));
  assert.equal(code, TIMED_OUT, `${script}\nended with ${code}:\n${output}\n${error}`);
  return output;
}
