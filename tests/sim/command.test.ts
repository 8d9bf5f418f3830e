// `dmnode sim` as a process.

import assert from "node:assert/strict";
import { command, run } from "../program/program.ts";

/** Without packet loss, every lookup must find the closest node. */
const SMALL = ["sim", "--nodes", "40", "--lookups", "10", "--values", "3", "--loss", "0"];

Deno.test("--json prints one object, which is the same in every run except for time and memory", async () => {
  const [first, second] = await Promise.all([run([...SMALL, "--json"]), run([...SMALL, "--json"])]);
  assert.equal(first.code, 0, first.stderr);
  assert.equal(first.stderr, "");
  const [x, y] = [first, second].map(({ stdout }) => JSON.parse(stdout));
  assert.equal(x.nodes, 40);
  assert.equal(x.found, 10);
  assert.equal(x.fetches.found, 10);
  assert.equal(x.stores.count, 3);
  assert.ok(x.stores.latency_ms.mean > 0);
  assert.equal(x.fetches.values, 3);
  assert.equal(x.fetches.values_missed, 0);
  assert.ok(x.wall_s > 0 && x.rss_bytes > 1e6);
  for (const one of [x, y]) delete one.wall_s, delete one.rss_bytes;
  assert.deepEqual(x, y);
});

Deno.test("runs print a table and write a report, also for several sizes", async () => {
  const cwd = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${cwd}/two.csv`, ",a,b\na,,80\nb,80,\n");
    const args = ["--nodes", "10,20", "--latency", "two.csv", "--report", "page.html"];
    const { code, stdout, stderr } = await run([...SMALL, ...args], { cwd });
    assert.equal(code, 0, stderr);
    assert.match(stdout, /latency two\.csv/);
    assert.match(stdout, /Mean hops = -?\d+\.\d+ \+ -?\d+\.\d+ log2\(nodes\)/);
    assert.match(await Deno.readTextFile(`${cwd}/page.html`), /<\/html>\s*$/);
  } finally {
    await Deno.remove(cwd, { recursive: true });
  }
});

Deno.test("an interrupted run leaves the former report unchanged", async () => {
  const cwd = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${cwd}/page.html`, "before");
    const args = ["sim", "--nodes", "2000", "--lookups", "20000", "--report", "page.html"];
    const child = command(args, { cwd }, "null").spawn();
    const names = () => Array.from(Deno.readDirSync(cwd), ({ name }) => name);
    // The new report is in a file beside it from the start of the run.
    for (const until = Date.now() + 30_000; names().length === 1;) {
      assert.ok(Date.now() < until);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
    child.kill("SIGINT");
    await Promise.all([child.stderr.cancel(), child.stdout.cancel()]);
    assert.equal((await child.status).code, 130);
    assert.equal(await Deno.readTextFile(`${cwd}/page.html`), "before");
    assert.deepEqual(names(), ["page.html"]);
  } finally {
    await Deno.remove(cwd, { recursive: true });
  }
});

Deno.test("wrong usage prints one line and exits with status 2", async () => {
  const wrong: [string[], RegExp][] = [
    [["--nodes", "1"], /whole number from 4/],
    [["--nodes", "ten"], /whole number from 4/],
    [["--loss", "1.5"], /share from 0 to 0\.95/],
    [["--mutable", "1.5"], /share from 0 to 1\b/],
    [["--churn", "-1"], /number from 0/],
    [["--settle", "soon"], /number from 0/],
    [["--latency", "missing.csv"], /missing\.csv can't be read.*a number of ms/],
    [["--latency=-5"], /-5 is not from 0 to 10000 ms/],
    [["--latency", "99999"], /99999 is not from 0/],
    [["--report", "missing/page.html"], /missing\/page\.html can't be written/],
    [["--speed", "9"], /unknown option/],
  ];
  await Promise.all(wrong.map(async ([args, message]) => {
    const { code, stdout, stderr } = await run([...SMALL, ...args]);
    assert.equal(code, 2, args.join(" "));
    assert.equal(stdout, "");
    assert.match(stderr, /^dmnode: [^\n]*\n$/);
    assert.match(stderr, message);
  }));
});
