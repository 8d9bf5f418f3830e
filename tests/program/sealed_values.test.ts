// Sealed values as their users meet them: what the nodes get to see, links in arguments and files, and versions.

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type NodeProcess, run, type RunOptions, withNodes } from "./program.ts";

const RECORDER = fileURLToPath(new URL("record_packets.ts", import.meta.url));

/** The executable loads no other modules, so its packets can't be recorded. */
const isExecutable = Deno.env.get("DMNODE") !== undefined;

/** A line of the secret file. It is longer than an item's beginning, and shorter than a piece. */
const SECRET = "the combination of the safe is 17-4-99";
/** A line of a file that is stored without a seal, to show that the search finds what is there. */
const PUBLIC = "the library opens at nine on Mondays";
const FILE_NAME = "diary-of-ada.txt";

/** All bytes that the nodes wrote: their packets, log lines, and files. */
async function traces(
  directory: string,
  nodes: readonly NodeProcess[],
): Promise<Map<string, Buffer>> {
  const found = new Map<string, Buffer>();
  for (const [i, node] of nodes.entries()) {
    found.set(`log ${i}`, Buffer.from(node.lines.map((line) => JSON.stringify(line)).join("\n")));
  }
  const visit = async (path: string) => {
    for await (const { name, isDirectory } of Deno.readDir(path)) {
      if (isDirectory) await visit(join(path, name));
      else found.set(join(path, name), Buffer.from(await Deno.readFile(join(path, name))));
    }
  };
  for (const i of nodes.keys()) await visit(join(directory, `node-${i}`));
  return found;
}

/** Where one of `texts` occurs, in UTF-8, UTF-16, hex or base64. */
function placesOf(traces: ReadonlyMap<string, Buffer>, text: string | Buffer): string[] {
  const bytes = Buffer.from(text as string);
  const forms = [
    bytes,
    Buffer.from(bytes.toString("latin1"), "utf16le"),
    Buffer.from(bytes.toString("hex")),
    // Two digits at the end depend on what follows.
    Buffer.from(bytes.toString("base64").replace(/.{0,2}=*$/, "")),
  ];
  return [...traces].flatMap(([place, content]) =>
    forms.some((form) => content.includes(form)) ? [place] : []
  );
}

if (!isExecutable) {
  Deno.test(
    "no packet, log line or file of any node contains a sealed value, its key or its file's name",
    withNodes(async (start, directory) => {
      const nodes: NodeProcess[] = [];
      for (const i of [0, 1, 2]) {
        await Deno.mkdir(join(directory, `node-${i}`));
        const options: RunOptions = {
          denoFlags: [`--preload=${RECORDER}`],
          env: {
            RECORD_PACKETS: join(directory, `node-${i}`, "packets"),
            UDP_BATCHES: "off",
            LOG_LEVEL: "trace",
          },
        };
        const bootstrap = i === 0 ? [] : ["--bootstrap", nodes[0].udp];
        nodes.push(await start(`node-${i}/data`, bootstrap, options));
      }
      const dmnode = async (node: number, ...args: string[]) => {
        const ended = await run([...args, "--api", nodes[node].api], { cwd: directory });
        assert.equal(ended.code, 0, ended.stderr);
        return ended.stdout;
      };
      const secret = `${SECRET}\n`.repeat(3_000);
      await Deno.writeTextFile(join(directory, FILE_NAME), secret);
      await Deno.writeTextFile(join(directory, "short.txt"), SECRET);
      await Deno.writeTextFile(join(directory, "opening.txt"), `${PUBLIC}\n`.repeat(3_000));
      await Deno.writeTextFile(join(directory, "hours.txt"), PUBLIC);

      const links = [
        (await dmnode(1, "put", "--seal", FILE_NAME)).trim(),
        (await dmnode(1, "put", "--seal", "short.txt")).trim(),
        (await dmnode(1, "put", "--seal", "--key", "diary", FILE_NAME)).trim(),
      ];
      await dmnode(1, "put", "opening.txt");
      await dmnode(1, "put", "hours.txt");
      for (const [i, link] of links.entries()) {
        const content = await dmnode(2, "get", link);
        assert.equal(content, i === 1 ? SECRET : secret);
        await dmnode(0, "stat", link);
        await dmnode(0, "pin", link);
      }
      assert.equal(await dmnode(2, "get", links[1].replace("dm:", "")), SECRET, "without dm:");
      await Promise.all(nodes.map((node) => node.stop()));

      const written = await traces(directory, nodes);
      const packets = (place: string) => place.endsWith("packets");
      const places = placesOf(written, PUBLIC);
      assert.ok(places.some(packets), `a plain value is in packets, not only in ${places}`);
      assert.ok(places.some((place) => !packets(place)), "a plain value is in files");
      assert.deepEqual(placesOf(written, SECRET), []);
      assert.deepEqual(placesOf(written, FILE_NAME), []);
      assert.deepEqual(placesOf(written, "diary-of"), []);
      for (const link of links) {
        const [, hash, key] = /^dm:([0-9a-f]{40})#(.{22})$/.exec(link) ?? [];
        assert.notEqual(placesOf(written, Buffer.from(hash, "hex")).length, 0, "the hash is known");
        assert.deepEqual(placesOf(written, key), []);
        assert.deepEqual(placesOf(written, Buffer.from(key, "base64url")), []);
      }
    }),
  );
}

Deno.test(
  "all versions under a key have the link in a file, which other users can't read",
  withNodes(async (start, directory) => {
    const { api } = await start("1");
    const dmnode = (args: string[], stdin?: string) =>
      run([...args, "--api", api], {
        cwd: directory,
        stdin: stdin === undefined ? undefined : new TextEncoder().encode(stdin),
      });
    const put = (value: string, ...more: string[]) =>
      dmnode(["put", "--key", "config", ...more], value);

    const first = await put("one", "--link-file", "config.link");
    assert.equal(first.code, 0, first.stderr);
    const file = join(directory, "config.link"), link = await Deno.readTextFile(file);
    assert.match(link, /^dm:[0-9a-f]{40}#[\w-]{22}\n$/);
    assert.equal(first.stdout, `${link.slice(3, 43)}\n`, "only the hash is printed");
    if (Deno.build.os !== "windows") assert.equal((await Deno.stat(file)).mode! & 0o777, 0o600);
    const second = await put("two", "--link-file", "config.link");
    assert.equal(second.code, 0, second.stderr);
    assert.equal(await Deno.readTextFile(file), link);
    for (const name of [["--link-file", "config.link"], [link.trim()]]) {
      assert.equal((await dmnode(["get", ...name])).stdout, "two");
    }

    const other = await put("three", "--seal");
    assert.match(other.stderr, /links of earlier versions don't open this one/);
    const stale = await dmnode(["get", "--link-file", "config.link"]);
    assert.equal(stale.code, 1);
    assert.match(stale.stderr, /^dmnode: the link does not open the value/);

    const misplaced = await dmnode(["put", "--link-file", "config.link"], "four");
    assert.match(misplaced.stderr, /config\.link exists: give another name, or --key/);
    const foreign = await dmnode(["put", "--key", "k", "--link-file", "config.link"], "five");
    assert.match(foreign.stderr, /config\.link has the link of another value/);
    assert.equal(await Deno.readTextFile(file), link);
  }),
);

Deno.test(
  "a link that is not whole, or not of a sealed value, is refused without quoting it",
  withNodes(async (start, directory) => {
    const { api } = await start("1");
    const dmnode = (args: string[], stdin = "") =>
      run([...args, "--api", api], { cwd: directory, stdin: new TextEncoder().encode(stdin) });
    const link = (await dmnode(["put", "--seal", "--json"], "text")).stdout;
    const { hash, link: whole } = JSON.parse(link);
    const key = whole.slice(44), plain = (await dmnode(["put"], "plain")).stdout.trim();

    const cut = await dmnode(["get", whole.slice(0, -1)]);
    assert.equal(cut.code, 2);
    assert.ok(!cut.stderr.includes(key.slice(0, 10)), cut.stderr);
    const notSealed = await dmnode(["get", `dm:${plain}#${key}`]);
    assert.match(notSealed.stderr, /^dmnode: the value is not sealed/);
    const other = await dmnode(["get", `dm:${hash}#${"A".repeat(22)}`, "-o", "out"]);
    assert.match(other.stderr, /^dmnode: the link does not open the value/);
    await assert.rejects(Deno.stat(join(directory, "out")), Deno.errors.NotFound);
    const closed = await dmnode(["get", hash]);
    assert.match(closed.stderr, /this value is sealed/);
    const json = JSON.parse((await dmnode(["get", whole, "--json"])).stdout);
    assert.deepEqual([json.hash, json.value, json.size], [hash, "text", 4]);
    assert.match(json.content_type, /^text\/plain/);
    const empty = (await dmnode(["put", "--seal"])).stdout.trim();
    assert.equal((await dmnode(["get", empty])).stdout, "");
  }),
);
