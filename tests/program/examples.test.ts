// The programs of examples/ do what their README says.

import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { withNodes } from "./program.ts";

const EXAMPLES = fileURLToPath(new URL("../../examples/", import.meta.url));

function example(name: string, args: readonly string[], api: string): Deno.Command {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-check", "--allow-all", join(EXAMPLES, name), ...args],
    env: { DMNODE_API: api, NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  });
}

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

Deno.test(
  "share.ts stores and fetches a file, and events.ts prints these events until it is stopped",
  withNodes(async (start, directory) => {
    const { api } = await start("1");
    const events = example("events.ts", ["data.fetch"], api).spawn();
    let heard = "";
    const reading = (async () => {
      for await (const piece of events.stdout) heard += text(piece);
    })();
    const [given, copy] = ["given", "copy"].map((name) => join(directory, name));
    const bytes = crypto.getRandomValues(new Uint8Array(5_000));
    await Deno.writeFile(given, bytes);
    const put = await example("share.ts", ["put", given], api).output();
    const hash = text(put.stdout).trim();
    assert.match(hash, /^[0-9a-f]{40}$/, text(put.stderr));
    // events.ts may connect after the first fetch.
    for (let i = 0; !heard.includes(hash); i++) {
      assert.ok(i < 60, heard);
      const got = await example("share.ts", ["get", hash, copy], api).output();
      assert.equal(got.code, 0, text(got.stderr));
      assert.deepEqual(await Deno.readFile(copy), bytes);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    const none = await example("share.ts", ["get", "00".repeat(20), copy], api).output();
    assert.equal(none.code, 1);
    events.kill();
    await Promise.all([events.stderr.cancel(), reading, events.status]);
  }),
);
