// Nodes as processes: they store and fetch, stop and restart, and report wrong usage.

import assert from "node:assert/strict";
import { join } from "node:path";
import { invocation, type LogLine, NodeProcess, run, withNodes } from "./program.ts";

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
    const response = await fetch(`${api}/readyz`).catch(() => undefined);
    await response?.body?.cancel();
    if (response?.ok) return;
    assert.ok(Date.now() < deadline, "the node did not become ready");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

Deno.test(
  "the program serves the dashboard",
  withNodes(async (start) => {
    const { api } = await start("1");
    const page = await text(`${api}/`);
    const files = [...page.matchAll(/(?:src|href)="(\/assets\/[^"]+)"/g)].map(([, path]) => path);
    // An executable has one bundle instead of the modules. Views other than the overview are loaded when one is opened.
    const isExecutable = Deno.env.get("DMNODE") !== undefined;
    assert.ok(files.length > (isExecutable ? 3 : 20), `${files}`);
    for (const path of [...files, "/assets/ibm-plex-sans.woff2", "/assets/ibm-plex-mono.woff2"]) {
      assert.ok((await text(api + path)).length > 100, path);
    }
    const history = await (await fetch(`${api}/network/history`)).json();
    assert.deepEqual([history.interval_s, history.samples], [10, []]);
    assert.ok(history.marks.some(({ type }: { type: string }) => type === "ready"));
  }),
);

Deno.test({
  name: "a node that receives datagrams in batches logs this, and works with nodes that don't",
  ignore: Deno.build.os !== "linux",
  fn: withNodes(async (start) => {
    const isTold = ({ message }: LogLine) => /in batches/.test(message);
    const first = await start("1");
    assert.ok(first.lines.some(isTold));
    const second = await start("2", ["--bootstrap", first.udp, "--udp-batches", "off"]);
    assert.ok(!second.lines.some(isTold));
    const third = await start("3", ["--bootstrap", first.udp]);
    await Promise.all([second, third].map((node) => untilReady(node.api)));
    const value = "x".repeat(100_000);
    const { hash, replicas } = await stored(third.api, value);
    assert.equal(replicas, 3);
    assert.equal(await text(`${second.api}/data/${hash}`), value);
    assert.equal((await first.stop()).code, 0);
  }),
});

Deno.test(
  "a node fetches a value that another stored, by API and by command line",
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
  "after kill -9, a node has all acknowledged values, its id and its identity",
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
  "a restarted node finds the others through its saved contacts",
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
  "the log names the addresses that the node talks to",
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
  "wrong usage ends with one line that names the problem, without a stack trace",
  withNodes(async (start, directory) => {
    const running = await start("1");
    const apiPort = new URL(running.api).port, udpPort = running.udp.split(":").pop()!;
    await Deno.writeTextFile(join(directory, "garbage.env"), "P2P_PORT=eight thousand\n");
    await Deno.writeTextFile(join(directory, "large.env"), `A="${"x".repeat(20_000_000)}"`);
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
      [["--env-file", "large.env"], 2, /large\.env has more than 1048576 bytes/],
      [[...free, "--p2p-port", udpPort, "--data-dir", "x"], 1, /P2P_PORT.*in use/],
      [[...free, "--api-port", apiPort, "--data-dir", "y"], 1, /API_PORT.*in use/],
      [[...free, "--data-dir", "1"], 1, /in use by another process/],
      [[...free, "--data-dir", "not-a-directory"], 1, /not-a-directory/],
      [["get", "abc"], 2, /40 hex digits/],
      [["get"], 2, /hash/],
      [["network"], 2, /network needs one of its commands \(see dmnode network --help\)/],
      [
        ["get", "0".repeat(40), "--api", "http://127.0.0.1:1"],
        1,
        /no node answers at http:\/\/127\.0\.0\.1:1/,
      ],
      [["get", "0".repeat(40), "--api", running.api], 1, /this node has no peers.*HTTP 404/],
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

Deno.test("a bad variable is named, and flags take precedence over it", async () => {
  const bad = await run([], { env: { ALPHA: "many" } });
  assert.equal(bad.code, 2);
  assert.match(bad.stderr, /ALPHA.*"many".*environment/);
  const directory = await Deno.makeTempDir();
  const node = new NodeProcess(
    ["--alpha", "5", "--p2p-port", "0", "--api-port", "0", "--data-dir", join(directory, "d")],
    { env: { ALPHA: "2" }, cwd: directory },
  );
  await node.line((line) => line.message.startsWith("Listening"));
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

Deno.test("--version and --help print, and exit with 0", async () => {
  const version = await run(["--version"]);
  assert.equal(version.code, 0);
  assert.match(version.stdout, /^dmnode \d+\.\d+\.\d+ /);
  const help = await run(["start", "--help"]);
  assert.equal(help.code, 0);
  for (const flag of ["--allow-net", "--bootstrap", "--p2p-port"]) {
    assert.ok(help.stdout.includes(flag));
  }
});

/** Limits on traffic, as lines of a .env file. */
const LIMITS = "P2P_UP_LIMIT=200 kB\nP2P_DOWN_LIMIT=300 kB\nP2P_MONTHLY_BUDGET=5 MB\n";

Deno.test({
  name: "SIGHUP makes a node read its settings again",
  ignore: Deno.build.os === "windows",
  fn: withNodes(async (start, directory) => {
    const envFile = join(directory, "node.env"), tokenFile = join(directory, "token");
    const write = (token: string, settings: string) => {
      Deno.writeTextFileSync(tokenFile, token, { mode: 0o600 });
      Deno.writeTextFileSync(envFile, `API_TOKEN_FILE=${tokenFile}\n${settings}`);
    };
    write("the-first-token", "LOG_LEVEL=info\n");
    const node = await start("1", ["--env-file", envFile]);
    const statusWith = async (token: string) => {
      const headers = { authorization: `Bearer ${token}` };
      const response = await fetch(`${node.api}/network/published`, { headers });
      await response.body?.cancel();
      return response.status;
    };
    assert.equal(await statusWith("the-first-token"), 200);

    write("the-second-token", "LOG_LEVEL=debug\nK_BUCKET_SIZE=8\n" + LIMITS);
    node.signal("SIGHUP");
    const { now, later } = await node.line(({ message }) => message.startsWith("SIGHUP: settings"));
    assert.deepEqual([now, later], [
      "P2P_UP_LIMIT, P2P_DOWN_LIMIT, P2P_MONTHLY_BUDGET, API_TOKEN, LOG_LEVEL",
      "K_BUCKET_SIZE",
    ]);
    const { limits, budget } = JSON.parse(await text(`${node.api}/network/traffic`));
    assert.deepEqual([limits.up, limits.down, budget.bytes], [200_000, 300_000, 5_000_000]);
    // The API runs in another thread, which may learn of the change a moment later.
    const deadline = Date.now() + 20_000;
    while (await statusWith("the-first-token") !== 401) assert.ok(Date.now() < deadline);
    assert.equal(await statusWith("the-second-token"), 200);
    const { config } = JSON.parse(await text(`${node.api}/network/stats`));
    assert.deepEqual([config.log_level, config.k_bucket_size], ["debug", 20]);

    write("the-third-token", "LOG_LEVEL=nonsense\n");
    node.signal("SIGHUP");
    await node.line(({ message }) => /nothing was changed: LOG_LEVEL.*"nonsense"/.test(message));
    assert.equal(await statusWith("the-second-token"), 200);

    write("the-second-token", "LOG_LEVEL=debug\nK_BUCKET_SIZE=20\n" + LIMITS);
    Deno.writeTextFileSync(`${envFile}.new`, "LOG_LEVEL=info\n");
    Deno.renameSync(`${envFile}.new`, envFile);
    node.signal("SIGHUP");
    await node.line(({ message }) => /no setting has changed.*in place/.test(message));
    assert.equal((await node.stop()).code, 0);
  }),
});

Deno.test({
  name: "a SIGHUP during the start changes the token and the deny list of the node that starts",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    const directory = await Deno.makeTempDir({ prefix: "dmnode-test-" });
    const [tokenFile, list, data] = ["token", "denied", "data"].map((name) =>
      join(directory, name)
    );
    Deno.writeTextFileSync(tokenFile, "the-first-token", { mode: 0o600 });
    Deno.writeTextFileSync(list, "");
    const node = new NodeProcess(
      ["--p2p-port", "0", "--api-port", "0", "--data-dir", data, "--deny-list", list],
      { cwd: directory, env: { API_TOKEN_FILE: tokenFile } },
    );
    try {
      // The node listens for signals before it opens its data directory.
      const opensWithin = Date.now() + 60_000;
      while (!await Deno.stat(data).then(() => true, () => false)) {
        assert.ok(Date.now() < opensWithin);
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      Deno.writeTextFileSync(tokenFile, "the-second-token");
      Deno.writeTextFileSync(list, "192.0.2.0/24\n");
      node.signal("SIGHUP");
      await node.line(({ message }) => message.startsWith("SIGHUP: settings"));
      await node.line(({ message }) => message.startsWith("Listening"));
      const statusWith = async (token: string) => {
        const headers = { authorization: `Bearer ${token}` };
        const response = await fetch(`${node.api}/network/published`, { headers });
        await response.body?.cancel();
        return response.status;
      };
      // If the signal came late after all, the API's thread may learn of the change a moment later.
      const deadline = Date.now() + 20_000;
      while (await statusWith("the-second-token") !== 200) assert.ok(Date.now() < deadline);
      assert.equal(await statusWith("the-first-token"), 401);
      assert.equal(JSON.parse(await text(`${node.api}/network/stats`)).config.denied, 1);
    } finally {
      await node.stop("SIGKILL");
      await Deno.remove(directory, { recursive: true });
    }
  },
});

Deno.test({
  name: "dmnode deny and SIGHUP end the contact with a node, and allow it again",
  ignore: Deno.build.os === "windows",
  fn: withNodes(async (start, directory) => {
    const list = join(directory, "denied");
    Deno.writeTextFileSync(list, "192.0.2.0/24 # nobody\n");
    const node = await start("1", ["--deny-list", list]);
    const peer = await start("2", ["--bootstrap", node.udp]);
    await untilReady(peer.api);
    const peersOf = async ({ api }: NodeProcess) => JSON.parse(await text(`${api}/network/peers`));
    const { node_id: id } = await peersOf(peer);
    const isKept = async () =>
      (await peersOf(node)).peers.some((peer: { node_id: string }) => peer.node_id === id);
    const until = async (isSo: boolean) => {
      const deadline = Date.now() + 60_000;
      while (await isKept() !== isSo) assert.ok(Date.now() < deadline, `never ${isSo}`);
    };
    const change = async (...args: string[]) => {
      const { code, stderr } = await run(["deny", "--deny-list", list, ...args]);
      assert.equal(code, 0, stderr);
      node.signal("SIGHUP");
    };
    await until(true);

    await change(id);
    await until(false);
    const pinged = await fetch(`${peer.api}/network/ping/${(await peersOf(node)).node_id}`);
    await pinged.body?.cancel();
    assert.ok(pinged.status === 504 || pinged.status === 404, `${pinged.status}`);
    const { config, traffic } = JSON.parse(await text(`${node.api}/network/stats`));
    assert.deepEqual([config.deny_list, config.denied], [list, 2]);
    assert.ok(traffic.dropped.denied > 0);
    assert.equal(Deno.readTextFileSync(list), `192.0.2.0/24 # nobody\n${id}\n`);

    await change("--remove", id);
    await until(true);
    assert.equal(Deno.readTextFileSync(list), "192.0.2.0/24 # nobody\n");

    const wrong = await run(["deny", "--deny-list", list, "10.0.0.0/33"]);
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /^dmnode: "10\.0\.0\.0\/33" is not a CIDR/);
    assert.equal((await run(["deny", "--deny-list", list])).stdout, "192.0.2.0/24\n");
  }),
});

Deno.test("dmnode deny compares what entries mean, and refuses to remove one that is not there", async () => {
  const directory = await Deno.makeTempDir({ prefix: "dmnode-test-" });
  try {
    const list = join(directory, "denied"), id = "ab".repeat(20);
    const deny = (...args: string[]) => run(["deny", "--deny-list", list, ...args]);
    Deno.writeTextFileSync(list, `# kept\n203.0.113.7/32\n10.1.2.3/8 # ours\n${id}\n`);
    const added = await deny("203.0.113.7", id.toUpperCase(), "10.0.0.0/8", "::1", "0:0::1/128");
    assert.equal(added.code, 0, added.stderr);
    const before = Deno.readTextFileSync(list);
    assert.match(before, /# ours\n(ab)+\n[^\n]+\n$/, "one entry is new");

    const missing = await deny("--remove", "203.0.113.7", "203.0.113.8");
    assert.equal(missing.code, 1);
    assert.match(missing.stderr, /has no entry "203\.0\.113\.8"; nothing was changed/);
    assert.equal(Deno.readTextFileSync(list), before);

    const removed = await deny("--remove", "203.0.113.7", id.toUpperCase(), "10.0.0.0/8", "::1");
    assert.equal(removed.code, 0, removed.stderr);
    assert.equal(Deno.readTextFileSync(list), "# kept\n");
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

/** The capacity of a pipe on Linux, in bytes. */
const PIPE_BYTES = 65_536;

Deno.test({
  name: "a node whose log nobody reads starts, answers and stops",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const directory = await Deno.makeTempDir({ prefix: "dmnode-test-" });
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 }), { port } = listener.addr;
    listener.close();
    const { path, ...options } = invocation(
      ["--p2p-port", "0", "--api-port", `${port}`, "--data-dir", directory],
      { before: ["sh", "-c", `head -c ${PIPE_BYTES} /dev/zero; exec "$0" "$@"`] },
    );
    const node = new Deno.Command(path, { ...options, stdout: "piped", stderr: "null" }).spawn();
    try {
      await untilReady(`http://127.0.0.1:${port}`);
      node.kill("SIGTERM");
      assert.equal((await node.status).code, 0);
    } finally {
      try {
        node.kill("SIGKILL");
      } catch {
        // It has ended already.
      }
      await node.stdout.cancel();
      await Deno.remove(directory, { recursive: true });
    }
  },
});

Deno.test({
  name: "SIGUSR1 leaves no inspector open",
  ignore: Deno.build.os === "windows",
  fn: withNodes(async (start) => {
    const node = await start("1");
    node.signal("SIGUSR1");
    // Wait until somebody listens at the address of Deno's inspector: the inspector, or the node in its place.
    for (;;) {
      try {
        (await Deno.connect({ hostname: "127.0.0.1", port: 9229 })).close();
        break;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
    // The node goes on. If Deno was faster, which is rare, the node ends at once.
    const isOpen = await fetch("http://127.0.0.1:9229/json").then((r) => r.text()).catch(() => "");
    if (isOpen) assert.match((await node.stop("SIGCONT")).stderr, /has opened Deno's inspector/);
    else await text(`${node.api}/healthz`);
    await assert.rejects(fetch("http://127.0.0.1:9229/json"));
  }),
});

Deno.test("a data directory that can't be created is reported in one sentence", async () => {
  const file = await Deno.makeTempFile();
  try {
    for (
      const [dir, why] of [[file, "is a file, not a directory"], [join(file, "x"), "inside a file"]]
    ) {
      const { code, stderr } = await run(["--data-dir", dir, "--p2p-port", "0", "--api-port", "0"]);
      assert.equal(code, 1);
      assert.match(stderr, new RegExp(`^dmnode: DATA_DIR [^\n]*${why}\n$`));
    }
  } finally {
    await Deno.remove(file);
  }
});

Deno.test({
  name: "a node under nohup ignores SIGHUP",
  // Batches need the C library too, in which the node looks for what it inherited.
  ignore: Deno.build.os !== "linux",
  fn: withNodes(async (start) => {
    const node = await start("1", [], { before: ["nohup"] });
    await node.line(({ message }) => message.startsWith("SIGHUP is ignored"));
    node.signal("SIGHUP");
    assert.equal((await fetch(`${node.api}/healthz`)).status, 200);
    const { code } = await node.stop();
    assert.equal(code, 0);
    assert.deepEqual(node.lines.filter(({ message }) => message.startsWith("SIGHUP:")), []);
  }),
});
