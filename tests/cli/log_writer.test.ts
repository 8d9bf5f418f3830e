// The log's lines are written in order, or dropped and counted. Writing them never waits.

import assert from "node:assert/strict";
import { LogWriter } from "../../src/cli/log_writer.ts";

/** A pipe or file. Tests change what it accepts. */
class Output {
  text = "";
  readonly writer: LogWriter;
  /** The number of characters for which there is room. */
  capacity = Infinity;
  #blocked: PromiseWithResolvers<void> | undefined;

  constructor({ maxWrite = Infinity } = {}) {
    this.writer = new LogWriter({
      write: async (bytes) => {
        await this.#blocked?.promise;
        const room = this.capacity - this.text.length;
        if (room <= 0) throw new Error("No space left on device");
        const written = bytes.subarray(0, Math.min(maxWrite, room));
        this.text += new TextDecoder().decode(written);
        return written.length;
      },
      droppedLine: (count) => `${count} dropped\n`,
    });
  }

  block(): void {
    this.#blocked = Promise.withResolvers();
  }

  unblock(): void {
    this.#blocked?.resolve();
  }

  async settled(): Promise<string> {
    await this.writer.flush(60_000);
    return this.text;
  }
}

Deno.test("lines are written in order, also in small parts", async () => {
  for (const maxWrite of [1, 3, Infinity]) {
    const output = new Output({ maxWrite });
    for (let i = 0; i < 5; i++) output.writer.write(`line ${i}\n`);
    assert.equal(await output.settled(), "line 0\nline 1\nline 2\nline 3\nline 4\n");
  }
});

Deno.test("the dropped lines, and the time since the reader has taken anything, are known", async () => {
  const output = new Output(), { writer } = output, LINES = 3;
  output.block();
  writer.write("a\n");
  const line = "x".repeat(200_000);
  for (let i = 0; i <= LINES; i++) writer.write(line);
  assert.equal(writer.state.dropped, LINES);
  assert.ok(writer.state.stalled_s > 0);
  output.unblock();
  await output.settled();
  assert.deepEqual(writer.state, { dropped: LINES, stalled_s: 0 });
});

Deno.test("a line that arrives while the previous one is being written does not wait for another", async () => {
  for (let turns = 0; turns < 20; turns++) {
    const output = new Output();
    output.writer.write("a\n");
    for (let i = 0; i < turns; i++) await Promise.resolve();
    output.writer.write("b\n");
    assert.equal(await output.settled(), "a\nb\n", `after ${turns} turns`);
  }
});

Deno.test("if nobody reads, later lines are dropped, and their number follows once somebody does", async () => {
  const output = new Output();
  output.block();
  const line = `${"x".repeat(1023)}\n`, count = 1000;
  for (let i = 0; i < count; i++) output.writer.write(line);
  output.unblock();
  const lines = (await output.settled()).split("\n");
  const written = lines.filter((text) => text.startsWith("x")).length;
  assert.ok(written >= 256 && written < 300, `${written}`);
  assert.deepEqual(lines.slice(written), [`${count - written} dropped`, ""]);
});

Deno.test("on a full disk lines are dropped, and their number follows once there is room", async () => {
  const output = new Output();
  output.capacity = 0;
  output.writer.write("a\n");
  assert.equal(await output.settled(), "");
  output.writer.write("b\n");
  assert.equal(await output.settled(), "");
  output.capacity = Infinity;
  output.writer.write("c\n");
  assert.equal(await output.settled(), "c\n2 dropped\n");
});

Deno.test("a line that was cut off by a full disk does not run into the next one", async () => {
  const output = new Output();
  output.capacity = "abc".length;
  output.writer.write("abcdef\n");
  assert.equal(await output.settled(), "abc");
  output.capacity = Infinity;
  output.writer.write("ghi\n");
  assert.equal(await output.settled(), "abc\nghi\n1 dropped\n");
});

Deno.test("a flush ends even if nobody reads", async () => {
  const output = new Output();
  output.block();
  output.writer.write("a\n");
  await output.writer.flush(1);
  assert.equal(output.text, "");
});
