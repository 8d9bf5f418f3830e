// Runs fuzz tests: replays the kept inputs, tries random ones, and keeps those that fail.

import { createHash } from "node:crypto";
import fc from "fast-check";
import { hex as hexOf } from "../../src/krpc/hex.ts";
import { hex as bytesOf } from "../packets.ts";

const CORPUS = new URL("corpus/", import.meta.url);

/** Something to fuzz. */
export interface Subject<T> {
  /** The folder of its inputs in `corpus/`. */
  readonly name: string;
  /** Random inputs: plain data, which may contain byte arrays. */
  readonly inputs: fc.Arbitrary<T>;
  /** Cap on the inputs that are tried while a failing input is made smaller. */
  readonly shrinks?: number;
  /** Tries one input. Throws, or rejects, if it reveals a defect. */
  check(input: T): void | Promise<void>;
}

export interface FuzzOptions {
  readonly runs: number;
  /** The same seed gives the same inputs. Random by default. */
  readonly seed?: number;
  /** Called after each run. */
  readonly onRun?: (runs: number) => void;
}

/** Tries all inputs of the corpus. Returns their number. */
export async function replay<T>(subject: Subject<T>): Promise<number> {
  const names: string[] = [];
  try {
    for await (const { name } of Deno.readDir(new URL(`${subject.name}/`, CORPUS))) {
      names.push(name);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  for (const name of names.sort()) {
    const text = await Deno.readTextFile(new URL(`${subject.name}/${name}`, CORPUS));
    try {
      await subject.check(inputOf(text) as T);
    } catch (error) {
      throw new Error(`tests/fuzz/corpus/${subject.name}/${name} fails`, { cause: error });
    }
  }
  return names.length;
}

/** Tries random inputs. A failing one is made smaller and kept in the corpus. */
export async function fuzz<T>(
  subject: Subject<T>,
  { runs, seed = Math.floor(Math.random() * 2 ** 31), onRun }: FuzzOptions,
): Promise<void> {
  let done = 0;
  let shrinks = 0;
  const property = fc.asyncProperty(subject.inputs, async (input) => {
    // Once the cap is reached, all further candidates count as harmless.
    if (hasFailed && ++shrinks > (subject.shrinks ?? 1_000)) return;
    try {
      await subject.check(input);
    } catch (error) {
      hasFailed = true;
      throw error;
    }
    if (!hasFailed) onRun?.(++done);
  });
  let hasFailed = false;
  const result = await fc.check(property, { numRuns: runs, seed });
  if (!result.failed) return;
  const text = textOf(result.counterexample![0]);
  const name = createHash("sha1").update(text).digest("hex").slice(0, 12);
  await Deno.mkdir(new URL(`${subject.name}/`, CORPUS), { recursive: true });
  await Deno.writeTextFile(new URL(`${subject.name}/${name}.json`, CORPUS), text);
  throw new Error(
    `seed ${seed} fails, kept as tests/fuzz/corpus/${subject.name}/${name}.json`,
    { cause: result.errorInstance },
  );
}

/**
 * Replays the corpus and tries some inputs, as a part of the test suite. They are the same in each run, so that a failure
 * points to the latest change. `make fuzz` looks for new inputs.
 */
export async function slice<T>(subject: Subject<T>, runs: number): Promise<void> {
  await replay(subject);
  await fuzz(subject, { runs, seed: 1 });
}

function textOf(input: unknown): string {
  const replacer = (_: string, value: unknown) =>
    value instanceof Uint8Array ? { hex: hexOf(value) } : value;
  return JSON.stringify(input, replacer, 1) + "\n";
}

function inputOf(text: string): unknown {
  const reviver = (_: string, value: unknown) =>
    typeof value === "object" && value !== null && "hex" in value
      ? bytesOf(value.hex as string)
      : value;
  return JSON.parse(text, reviver);
}
