// Files of many items: put, get, broken transfers, and progress on a terminal.

import assert from "node:assert/strict";
import { join } from "node:path";
import { type Moment, progressText } from "../../src/cli/terminal/progress.ts";
import { sampleBytes } from "../large_values/memory_network.ts";
import { run, withNodes } from "./program.ts";
import { TestTerminal } from "./terminal.ts";

Deno.test(
  "put and get transfer a file, by name, through pipes and under a key",
  withNodes(async (start, directory) => {
    const { api } = await start("1");
    const path = (name: string) => join(directory, name);
    const dmnode = (args: string[], stdin?: Uint8Array<ArrayBuffer>) =>
      run([...args, "--api", api], { cwd: directory, stdin });
    const bytes = sampleBytes(200_000);
    await Deno.writeFile(path("in.bin"), bytes);

    const put = await dmnode(["put", "in.bin"]);
    assert.equal(put.code, 0);
    assert.match(put.stderr, /^dmnode: stored on this node only: [^\n]+\n$/);
    const hash = put.stdout.trim();
    assert.match(hash, /^[0-9a-f]{40}$/);
    const piped = JSON.parse((await dmnode(["put", "--json"], bytes)).stdout);
    assert.deepEqual([piped.hash, piped.kind, piped.size], [hash, "chunked", 200_000]);
    const keyed = JSON.parse((await dmnode(["put", "--json", "--key", "k", "in.bin"])).stdout);
    assert.deepEqual([keyed.key, keyed.seq, keyed.kind], ["k", 1, "chunked"]);

    await Deno.writeTextFile(path("out.bin"), "something else", { mode: 0o640 });
    await Deno.symlink("out.bin", path("link.bin"));
    const got = await dmnode(["get", keyed.hash, "-o", "link.bin", "--json"]);
    assert.deepEqual([got.code, got.stderr], [0, ""]);
    const { public_key, ...told } = JSON.parse(got.stdout);
    assert.match(public_key, /^[0-9a-f]{64}$/);
    assert.deepEqual(told, {
      hash: keyed.hash,
      file: "link.bin",
      size: 200_000,
      content_type: "application/octet-stream",
      seq: 1,
    });
    const inside = JSON.parse((await dmnode(["get", hash, "--json"])).stdout);
    assert.deepEqual([inside.encoding, inside.size], ["base64", 200_000]);
    assert.deepEqual(Uint8Array.from(atob(inside.value), (c) => c.charCodeAt(0)), bytes);
    assert.deepEqual(await Deno.readFile(path("out.bin")), bytes);
    assert.ok((await Deno.lstat(path("link.bin"))).isSymlink);
    if (Deno.build.os !== "windows") {
      assert.equal(
        (await Deno.stat(path("out.bin"))).mode! & 0o777,
        0o640,
        "the file's mode stays",
      );
    }
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
  "a file or stream over MAX_VALUE_SIZE is refused with the limit",
  withNodes(async (start, directory) => {
    const { api } = await start("1", [], { env: { MAX_VALUE_SIZE: "100000" } });
    await Deno.writeFile(join(directory, "big.bin"), new Uint8Array(30_000_000));
    const put = (file: string, stdin?: Uint8Array<ArrayBuffer>) =>
      run(["put", file, "--api", api], { cwd: directory, stdin });
    for (const { code, stderr } of [await put("big.bin"), await put("-", sampleBytes(100_001))]) {
      assert.equal(code, 1);
      assert.match(stderr, /^dmnode: the value is over the 100000 bytes .*MAX_VALUE_SIZE/);
      assert.equal(stderr.trim().split("\n").length, 1);
    }
  }),
);

Deno.test("a broken transfer leaves the old file, and no part of the new one", async () => {
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
    assert.match(stderr, /^dmnode: the node stopped sending/);
    assert.equal(await Deno.readTextFile(join(directory, "out.bin")), "before");
    assert.equal([...Deno.readDirSync(directory)].length, 1);
  } finally {
    await server.shutdown();
    await Deno.remove(directory, { recursive: true });
  }
});

/** An API that sends a value of 50 MB slowly, and receives values slowly. */
function slowApi() {
  const quiet = { onListen: () => {}, onError: () => new Response(null, { status: 500 }) };
  const pause = () => new Promise((resolve) => setTimeout(resolve, 50));
  const labels = new Set<string>();
  let taken = 0;
  return Deno.serve({ hostname: "127.0.0.1", port: 0, ...quiet }, async (request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/network/transfers") {
      const transfers = [...labels].map((label) => ({ label, done_bytes: taken }));
      return Response.json({ transfers });
    }
    if (request.method === "POST") {
      labels.add(request.headers.get("x-transfer-label")!);
      for await (const piece of request.body!) {
        taken += piece.length;
        await pause();
      }
      return Response.json({ hash: "0".repeat(40) });
    }
    const body = new ReadableStream({
      async pull(controller) {
        await pause();
        controller.enqueue(new Uint8Array(200_000));
      },
    });
    return new Response(body, { headers: { "content-length": "50000000" } });
  });
}

Deno.test("get and put show progress on a terminal; Ctrl-C removes it and the temporary file", async () => {
  const directory = await Deno.makeTempDir();
  const server = slowApi();
  const api = `http://127.0.0.1:${server.addr.port}`;
  const files = () => [...Deno.readDirSync(directory)].map(({ name }) => name);
  try {
    await using get = new TestTerminal(["get", "0".repeat(40), "-o", "out.bin", "--api", api], {
      cwd: directory,
    });
    const line =
      /^Fetching \[#*\.+\] \d+ % [\d.]+ [kM]?B of 50\.0 MB, [\d.]+ MB\/s, [\d a-z]+ left$/;
    await get.until(line);
    assert.match(files().join(), /^out\.bin\.[0-9a-f]{8}\.part$/);
    await get.type("\x03");
    assert.equal(await get.ended(), 130);
    assert.deepEqual(files(), []);
    assert.match(get.text, /^(\^C)?$/, "the line is gone");

    const big = await Deno.open(join(directory, "in.bin"), { write: true, createNew: true });
    await big.truncate(100_000_000);
    big.close();
    await using put = new TestTerminal(["put", "in.bin", "--api", api], { cwd: directory });
    await put.until(/^Storing \[[#.]+\] \d+ % .* of 100 MB/);
    await put.signal(15);
    assert.equal(await put.ended(), 143);
    assert.equal(put.text, "");
    await using narrow = new TestTerminal(["put", "in.bin", "--api", api], {
      cwd: directory,
      columns: 30,
    });
    await narrow.until(/^Storing \[[#.]{3}.*…$/);
    assert.equal(narrow.text.split("\n").length, 1);
  } finally {
    await server.shutdown();
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("the progress line shows the amount, the rate and the remaining time", () => {
  const text = (moment: Partial<Moment>) =>
    progressText({ label: "Storing", done: 0, total: null, unit: "bytes", rate: 0, ...moment });
  assert.equal(
    text({ done: 2_500_000, total: 10_000_000, rate: 250_000 }),
    "Storing [#####...............] 25 % 2.50 MB of 10.0 MB, 250 kB/s, 30 s left",
  );
  assert.equal(text({ done: 2_500_000 }), "Storing 2.50 MB, 0 B/s");
  assert.equal(
    text({ label: "joining", unit: "things", done: 1_200, total: 2_400, rate: 10, note: "9 MB" }),
    "joining [##########..........] 50 % 1,200 of 2,400, 10/s, 2 min left, 9 MB",
  );
  const edges: Partial<Moment>[] = [
    { done: 0, total: 0 },
    { done: 5, total: 5 },
    { done: 9, total: 5, rate: 1 },
    { total: 268_435_456, rate: 1e-9 },
    { done: 100_000_000, total: 268_435_456, rate: 30_000 },
  ];
  for (const edge of edges) assert.doesNotMatch(text(edge), /NaN|Infinity|-/);
});

Deno.test(
  "a file for which the network has no room is refused with exit status 1",
  withNodes(async (start, directory) => {
    const env = { STORAGE_LIMIT: "100000" };
    const first = await start("1", [], { env });
    const second = await start("2", ["--bootstrap", first.udp], { env });
    await second.line(({ message }) => message.startsWith("Joined the network"));
    await Deno.writeFile(join(directory, "in.bin"), sampleBytes(200_000));
    const put = (value: string[]) =>
      run(["put", ...value, "--api", second.api], { cwd: directory, stdin: new Uint8Array([65]) });
    const { code, stdout, stderr } = await put(["in.bin"]);
    assert.deepEqual([code, stdout], [1, ""]);
    assert.match(stderr, /the network has no room for .* \(HTTP 507\)/);
  }),
);
