// Tar archives: what is written can be read again, also by the system's tar, and broken archives are refused.

import assert from "node:assert/strict";
import { join } from "node:path";
import { endTar, readEntries, TarError, writeEntry } from "../../../src/runtime/backup/tar.ts";

/** A file in memory. */
class Memory {
  bytes: Uint8Array<ArrayBuffer>;
  #at = 0;

  constructor(bytes: Uint8Array<ArrayBuffer> = new Uint8Array()) {
    this.bytes = bytes;
  }

  readSync(to: Uint8Array): number | null {
    const part = this.bytes.subarray(this.#at, this.#at + to.length);
    to.set(part);
    this.#at += part.length;
    return part.length === 0 ? null : part.length;
  }

  write(bytes: Uint8Array): Promise<number> {
    return Promise.resolve(this.writeSync(bytes));
  }

  writeSync(bytes: Uint8Array): number {
    this.bytes = new Uint8Array([...this.bytes, ...bytes]);
    return bytes.length;
  }
}

/** Sizes around tar's block of 512 bytes. */
const CONTENTS = [0, 1, 511, 512, 513].map((size) => new Uint8Array(size).fill(size));

async function archive(): Promise<Uint8Array<ArrayBuffer>> {
  const to = new Memory();
  for (const bytes of CONTENTS) {
    const entry = { name: `f${bytes.length}`, size: bytes.length, content: new Memory(bytes) };
    await writeEntry(to, entry, 1_000_000_000);
  }
  await endTar(to);
  return to.bytes;
}

Deno.test("an archive contains what was written to it, and entries can be skipped", async () => {
  const bytes = await archive();
  const found = [...readEntries(new Memory(bytes))].map(({ name, size }) => [name, size]);
  assert.deepEqual(found, CONTENTS.map(({ length }) => [`f${length}`, length]));
  let i = 0;
  for (const entry of readEntries(new Memory(bytes))) {
    const to = new Memory();
    entry.copyTo(to);
    assert.deepEqual(to.bytes, CONTENTS[i++]);
  }
});

Deno.test("a file that is cut off, or not an archive, is refused", async () => {
  const whole = await archive();
  const changed = whole.with(3, 1);
  for (const bytes of [changed, whole.slice(0, 1_100), whole.slice(0, whole.length - 1_024)]) {
    assert.throws(() => [...readEntries(new Memory(bytes))], TarError);
  }
});

Deno.test({
  name: "the system's tar reads an archive",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    const directory = await Deno.makeTempDir();
    try {
      await Deno.writeFile(join(directory, "a.tar"), await archive());
      const options = { cwd: directory, args: ["xf", "a.tar"], stderr: "piped" as const };
      const { code, stderr } = await new Deno.Command("tar", options).output();
      assert.deepEqual([code, new TextDecoder().decode(stderr)], [0, ""]);
      for (const bytes of CONTENTS) {
        assert.deepEqual(await Deno.readFile(join(directory, `f${bytes.length}`)), bytes);
      }
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
});
