// Files of many items through the command line: in, out, broken off, and with the terminal kept quiet.

import assert from "node:assert/strict";
import { join } from "node:path";
import { progressText } from "../../src/cli/progress.ts";
import { sampleBytes } from "../data/memory_network.ts";
import { run, withNodes } from "./program.ts";

Deno.test(
  "a file goes in and comes out, by name, from standard input and under a key",
  withNodes(async (start, directory) => {
    const { api } = await start("1");
    const path = (name: string) => join(directory, name);
    const dmnode = (args: string[], stdin?: Uint8Array<ArrayBuffer>) =>
      run([...args, "--api", api], { cwd: directory, stdin });
    const bytes = sampleBytes(200_000);
    await Deno.writeFile(path("in.bin"), bytes);

    const put = await dmnode(["put", "in.bin"]);
    assert.deepEqual([put.code, put.stderr], [0, ""]);
    const hash = put.stdout.trim();
    assert.match(hash, /^[0-9a-f]{40}$/);
    const piped = JSON.parse((await dmnode(["put", "--json"], bytes)).stdout);
    assert.deepEqual([piped.hash, piped.kind, piped.size], [hash, "chunked", 200_000]);
    const keyed = JSON.parse((await dmnode(["put", "--json", "--key", "k", "in.bin"])).stdout);
    assert.deepEqual([keyed.key, keyed.seq, keyed.kind], ["k", 1, "chunked"]);

    await Deno.writeTextFile(path("out.bin"), "something else");
    await Deno.symlink("out.bin", path("link.bin"));
    const got = await dmnode(["get", keyed.hash, "-o", "link.bin", "--json"]);
    assert.deepEqual([got.code, got.stderr], [0, ""]);
    assert.deepEqual(JSON.parse(got.stdout), { hash: keyed.hash, file: "link.bin", size: 200_000 });
    assert.deepEqual(await Deno.readFile(path("out.bin")), bytes);
    assert.ok((await Deno.lstat(path("link.bin"))).isSymlink);
    const toDevice = await dmnode(["get", hash, "-o", "/dev/null"]);
    assert.equal(toDevice.code, 0, toDevice.stderr);
    assert.ok((await Deno.stat("/dev/null")).isCharDevice);

    const wrong: [string[], RegExp][] = [
      [["get", hash, "-o", "."], /\. can't be written: it is a directory/],
      [["get", hash, "-o", "no/such/place"], /no\/such\/place can't be written/],
      [["put", "."], /\. can't be read: it is a directory/],
    ];
    for (const [args, message] of wrong) {
      const { code, stderr } = await dmnode(args);
      assert.equal(code, 1);
      assert.match(stderr, message);
      assert.equal(stderr.trim().split("\n").length, 1);
    }
    const names = [...Deno.readDirSync(directory)].map(({ name }) => name).sort();
    assert.deepEqual(names, ["1", "in.bin", "link.bin", "out.bin"], "no temporary file is left");
  }),
);

Deno.test(
  "what is over MAX_VALUE_SIZE is refused with the limit, file or stream",
  withNodes(async (start, directory) => {
    const { api } = await start("1", [], { env: { MAX_VALUE_SIZE: "100000" } });
    await Deno.writeFile(join(directory, "big.bin"), new Uint8Array(30_000_000));
    const put = (file: string, stdin?: Uint8Array<ArrayBuffer>) =>
      run(["put", file, "--api", api], { cwd: directory, stdin });
    for (const { code, stderr } of [await put("big.bin"), await put("-", sampleBytes(100_001))]) {
      assert.equal(code, 1);
      assert.match(stderr, /^dmnode: .*over .*100000 bytes/);
      assert.equal(stderr.trim().split("\n").length, 1);
    }
  }),
);

Deno.test("a value that breaks off leaves the file that was there, and no part of the new one", async () => {
  const directory = await Deno.makeTempDir();
  const quiet = { onListen: () => {}, onError: () => new Response(null, { status: 500 }) };
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, ...quiet }, () => {
    let pieces = 0;
    const body = new ReadableStream({
      pull(controller) {
        if (++pieces > 20) controller.error(new Error("gone"));
        else controller.enqueue(new Uint8Array(10_000));
      },
    });
    return new Response(body, { headers: { "content-length": "1000000" } });
  });
  try {
    const api = `http://127.0.0.1:${server.addr.port}`;
    await Deno.writeTextFile(join(directory, "out.bin"), "before");
    const args = ["get", "0".repeat(40), "-o", "out.bin", "--api", api];
    const { code, stderr } = await run(args, { cwd: directory });
    assert.equal(code, 1);
    assert.match(stderr, /^dmnode: the node broke off/);
    assert.equal(await Deno.readTextFile(join(directory, "out.bin")), "before");
    assert.equal([...Deno.readDirSync(directory)].length, 1);
  } finally {
    await server.shutdown();
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("the progress line says how far, how fast and how long, within 79 columns", () => {
  assert.equal(
    progressText("Storing", 2_500_000, 10_000_000, 250_000),
    "Storing [#####...............] 25% 2.50 of 10.0 MB, 0.25 MB/s, 30 s left",
  );
  assert.equal(progressText("Storing", 2_500_000, null, 0), "Storing 2.50 MB, 0.00 MB/s");
  const texts = [
    progressText("Fetching", 0, 0, 0),
    progressText("Fetching", 5, 5, 0),
    progressText("Fetching", 0, 268_435_456, 1_000),
    progressText("Fetching", 100_000_000, 268_435_456, 30_000),
    progressText("Fetching", 268_435_456, 268_435_456, 123_456_789),
  ];
  for (const text of texts) assert.ok(text.length <= 79 && !/NaN|Infinity/.test(text), text);
});
