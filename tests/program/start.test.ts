// The program as a process: nodes that store and fetch, stop and come back, and what it says when misused.

import assert from "node:assert/strict";
import { join } from "node:path";
import { type LogLine, NodeProcess, run, withNodes } from "./program.ts";

async function stored(api: string, body: string, query = ""): Promise<Record<string, unknown>> {
  const response = await fetch(`${api}/network/store${query}`, {
    method: "POST",
    body,
    headers: { "content-type": "text/plain" },
  });
  assert.equal(response.status, 201, await response.clone().text());
  return await response.json();
}

async function text(url: string): Promise<string> {
  const response = await fetch(url);
  assert.equal(response.status, 200, `${url}: ${await response.clone().text()}`);
  return await response.text();
}

async function untilReady(api: string): Promise<void> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const response = await fetch(`${api}/readyz`);
    await response.body?.cancel();
    if (response.ok) return;
    assert.ok(Date.now() < deadline, "the node did not become ready");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

Deno.test(
  "the dashboard is part of the program",
  withNodes(async (start) => {
    const { api } = await start("1");
    const page = await text(`${api}/`);
    const files = [...page.matchAll(/(?:src|href)="(\/assets\/[^"]+)"/g)].map(([, path]) => path);
    assert.ok(files.length > 40, `${files}`);
    for (const path of [...files, "/assets/ibm-plex-sans.woff2", "/assets/ibm-plex-mono.woff2"]) {
      assert.ok((await text(api + path)).length > 100, path);
    }
    assert.deepEqual(await (await fetch(`${api}/network/history`)).json(), {
      interval_s: 10,
      samples: [],
    });
  }),
);

Deno.test({
  name: "a node that takes datagrams in batches says so, and serves others that don't",
  ignore: Deno.build.os !== "linux",
  fn: withNodes(async (start) => {
    const isTold = ({ message }: LogLine) => /in batches/.test(message);
    const first = await start("1", [], { inBatches: true });
    assert.ok(first.lines.some(isTold));
    const second = await start("2", ["--bootstrap", first.udp]);
    assert.ok(!second.lines.some(isTold));
    const third = await start("3", ["--bootstrap", first.udp], { inBatches: true });
    await Promise.all([second, third].map((node) => untilReady(node.api)));
    const value = "x".repeat(100_000);
    const { hash, replicas } = await stored(third.api, value);
    assert.equal(replicas, 3);
    assert.equal(await text(`${second.api}/data/${hash}`), value);
    assert.equal((await first.stop()).code, 0);
  }),
});

Deno.test(
  "three nodes: what one stores another fetches, by API and by command line",
  withNodes(async (start, directory) => {
    const first = await start("1");
    const second = await start("2", ["--bootstrap", first.udp]);
    const third = await start("3", ["--bootstrap", first.udp]);
    await Promise.all([second, third].map((node) => untilReady(node.api)));

    const { hash, replicas } = await stored(second.api, "over the API");
    assert.equal(replicas, 3);
    assert.equal(await text(`${third.api}/data/${hash}`), "over the API");

    const bytes = crypto.getRandomValues(new Uint8Array(300));
    const put = await run(["put", "--api", first.api], { stdin: bytes, cwd: directory });
    assert.equal(put.code, 0, put.stderr);
    const got = await run(["get", put.stdout.trim(), "-o", "got.bin", "--api", third.api], {
      cwd: directory,
    });
    assert.equal(got.code, 0, got.stderr);
    assert.deepEqual(await Deno.readFile(join(directory, "got.bin")), bytes);

    const keyed = await stored(third.api, "version 1", "?key=settings");
    assert.equal((await stored(third.api, "version 2", "?key=settings")).seq, 2);
    assert.equal(await text(`${first.api}/data/${keyed.hash}`), "version 2");

    const list = await (await fetch(`${first.api}/network/peers`)).json();
    assert.equal(list.routing_table_size, 2);
    const ping = await run(["ping", list.peers[0].node_id, "--api", first.api, "--json"], {
      cwd: directory,
    });
    assert.equal(JSON.parse(ping.stdout).node_id, list.peers[0].node_id);
    const find = await run(["find", list.node_id, "--api", second.api], { cwd: directory });
    assert.match(find.stdout, new RegExp(`^${list.node_id}`, "m"));
  }),
);

Deno.test(
  "kill -9 loses no acknowledged value, and the node keeps its id and identity",
  withNodes(async (start) => {
    const first = await start("1");
    const hashes: string[] = [];
    for (let i = 0; i < 20; i++) {
      hashes.push((await stored(first.api, `value ${i}`)).hash as string);
    }
    const before = await (await fetch(`${first.api}/network/stats`)).json();
    await first.stop("SIGKILL");

    const again = await start("1");
    for (const [i, hash] of hashes.entries()) {
      assert.equal(await text(`${again.api}/data/${hash}`), `value ${i}`);
    }
    const after = await (await fetch(`${again.api}/network/stats`)).json();
    assert.equal(after.node_id, before.node_id);
    assert.equal(after.public_key, before.public_key);
  }),
);

Deno.test(
  "a node that comes back finds the others by the contacts it saved",
  withNodes(async (start) => {
    const first = await start("1");
    const second = await start("2", ["--bootstrap", first.udp]);
    await untilReady(second.api);
    assert.equal((await second.stop("SIGTERM")).code, 0);
    const again = await start("2");
    await again.line((line) => line.message.startsWith("Joined"));
  }),
);

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  Deno.test(
    `${signal} stops it with status 0`,
    withNodes(async (start) => {
      const node = await start("1");
      const begun = Date.now();
      const { code, stderr } = await node.stop(signal);
      assert.equal(code, 0, stderr);
      assert.ok(Date.now() - begun < 5_000);
      assert.equal(stderr, "");
      assert.equal(node.lines.at(-1)!.message, "Stopped");
    }),
  );
}

Deno.test(
  "it says whom it talks to",
  withNodes(async (start) => {
    const line = async (args: string[]) =>
      (await (await start(crypto.randomUUID(), args)).line((l) => l.message.includes("talks to")))
        .message;
    assert.match(await line([]), /loopback only/);
    assert.match(await line(["--allow-net", "--nat", "off"]), /any address/);
    assert.match(
      await line(["--allow-net=10.0.0.0/8,192.0.2.1", "--nat", "off"]),
      /10\.0\.0\.0\/8, 192\.0\.2\.1/,
    );
  }),
);

Deno.test(
  "wrong use ends with one line that says what is wrong, and no stack trace",
  withNodes(async (start, directory) => {
    const running = await start("1");
    const apiPort = new URL(running.api).port, udpPort = running.udp.split(":").pop()!;
    await Deno.writeTextFile(join(directory, "garbage.env"), "P2P_PORT=eight thousand\n");
    await Deno.writeTextFile(join(directory, "not-a-directory"), "");
    const free = ["--p2p-port", "0", "--api-port", "0"];
    const cases: [string[], number, RegExp][] = [
      [["bogus"], 2, /no command "bogus"/],
      [["--bogus"], 2, /--bogus/],
      [["--p2p-port", "70000"], 2, /P2P_PORT.*70000.*0 to 65535/],
      [["--k", "0"], 2, /K_BUCKET_SIZE.*"0"/],
      [["--api-host", "0.0.0.0"], 2, /API_TOKEN/],
      [["--bootstrap", "example.org"], 2, /BOOTSTRAP_NODES.*example\.org/],
      [["--allow-net=10.0.0.0\/33"], 2, /10\.0\.0\.0\/33/],
      [["--env-file", "garbage.env"], 2, /P2P_PORT.*eight thousand.*garbage\.env/],
      [["--env-file", "missing.env"], 2, /missing\.env/],
      [[...free, "--p2p-port", udpPort, "--data-dir", "x"], 1, /P2P_PORT.*in use/],
      [[...free, "--api-port", apiPort, "--data-dir", "y"], 1, /API_PORT.*in use/],
      [[...free, "--data-dir", "1"], 1, /in use by another process/],
      [[...free, "--data-dir", "not-a-directory"], 1, /not-a-directory/],
      [["get", "abc"], 2, /40 hex digits/],
      [["get"], 2, /hash/],
      [
        ["get", "0".repeat(40), "--api", "http://127.0.0.1:1"],
        1,
        /no node answers at http:\/\/127\.0\.0\.1:1/,
      ],
      [["get", "0".repeat(40), "--api", running.api], 1, /HTTP 404/],
      [["peers", "--api", "ftp://x"], 2, /URL/],
      [["put", "no-such-file", "--api", running.api], 1, /no-such-file/],
    ];
    for (const [args, status, message] of cases) {
      const { code, stderr } = await run(args, { cwd: directory });
      assert.equal(code, status, `${args.join(" ")}: ${stderr}`);
      assert.match(stderr, message, args.join(" "));
      assert.equal(stderr.trim().split("\n").length, 1, stderr);
    }
  }),
);

Deno.test("a variable of the environment is named when it is bad, and flags win over it", async () => {
  const bad = await run([], { env: { ALPHA: "many" } });
  assert.equal(bad.code, 2);
  assert.match(bad.stderr, /ALPHA.*"many".*environment/);
  const directory = await Deno.makeTempDir();
  const node = new NodeProcess(
    ["--alpha", "5", "--p2p-port", "0", "--api-port", "0", "--data-dir", join(directory, "d")],
    { env: { ALPHA: "2" }, cwd: directory },
  );
  await node.line((line) => line.message.startsWith("Ready"));
  const { config } = await (await fetch(`${node.api}/network/stats`)).json();
  assert.equal(config.alpha, 5);
  await node.stop();
  await Deno.remove(directory, { recursive: true });
});

Deno.test(
  "an unreachable bootstrap node is named in the log, and the node is not ready",
  withNodes(async (start) => {
    const node = await start("1", ["--bootstrap", "127.0.0.1:9"]);
    const response = await fetch(`${node.api}/readyz`);
    assert.equal(response.status, 503);
    await response.body?.cancel();
    const warning = await node.line((line) => line.level === "warning");
    assert.match(warning.message, /127\.0\.0\.1:9/);
  }),
);

Deno.test("--version and --help print and end with 0", async () => {
  const version = await run(["--version"]);
  assert.equal(version.code, 0);
  assert.match(version.stdout, /^dmnode \d+\.\d+\.\d+ /);
  const help = await run(["start", "--help"]);
  assert.equal(help.code, 0);
  for (const flag of ["--allow-net", "--bootstrap", "--p2p-port"]) {
    assert.ok(help.stdout.includes(flag));
  }
});

Deno.test("a data directory that can't be made is told in plain words", async () => {
  const file = await Deno.makeTempFile();
  try {
    for (const [dir, why] of [[file, "is a file, no directory"], [join(file, "x"), "in a file"]]) {
      const { code, stderr } = await run(["--data-dir", dir, "--p2p-port", "0", "--api-port", "0"]);
      assert.equal(code, 1);
      assert.match(stderr, new RegExp(`^dmnode: DATA_DIR [^\n]*${why}\n$`));
    }
  } finally {
    await Deno.remove(file);
  }
});
