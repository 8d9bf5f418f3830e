// Tests the laboratory itself: each NAT behaves like its name, as seen from both sides with plain UDP.

import assert from "node:assert/strict";
import { KINDS, Lab, Sockets } from "./lab.ts";

type Dependence = "ei" | "ad" | "apd";

/** Expected behaviour of each kind in the terms of RFC 4787, and whether the external port equals the internal one. */
const EXPECTED: Record<string, [mapping: Dependence, filtering: Dependence, keepsPort: boolean]> = {
  "public": ["ei", "ei", true],
  "full-cone": ["ei", "ei", false],
  "restricted": ["ei", "ad", false],
  "port-restricted": ["ei", "apd", false],
  "linux": ["ei", "apd", true],
  "linux-random": ["apd", "apd", false],
  "symmetric": ["apd", "apd", false],
  "double": ["ei", "apd", false],
  "short-timeout": ["ei", "apd", true],
  "firewall": ["ei", "apd", true],
};

Deno.test("each kind of router maps and filters as its name says", async () => {
  await using lab = await Lab.open();
  const [first, second] = [await lab.publicHost(), await lab.publicHost()];
  const here = await Sockets.open(first, [7000, 7001]);
  const there = await Sockets.open(second, [7000, 7001]);
  for (const kind of KINDS) {
    const { hosts: [host], external } = await lab.site(kind);
    const inside = await Sockets.open(host, [5000]);
    const seen = async (by: Sockets, at: number) => {
      const from = await by.after(at, () => inside.send(5000, by.machine.address, at));
      assert.ok(from !== undefined, `${kind}: nothing arrives outside`);
      assert.equal(from[0], external, kind);
      return from[1];
    };
    // Test the filtering first, because each later packet from the inside opens another hole.
    const port = await seen(here, 7000);
    const arrives = async (from: Sockets, at: number) =>
      await inside.after(5000, () => from.send(at, external, port)) !== undefined;
    assert.ok(await arrives(here, 7000), `${kind}: no answer arrives`);
    const filtering = await arrives(there, 7000) ? "ei" : await arrives(here, 7001) ? "ad" : "apd";
    const otherPort = await seen(here, 7001), otherHost = await seen(there, 7000);
    const mapping = otherHost === port ? "ei" : otherPort === port ? "ad" : "apd";
    assert.deepEqual([mapping, filtering, port === 5000], EXPECTED[kind], kind);
    await inside.end();
  }
  await here.end();
  await there.end();
});

Deno.test("a mapping ends after its timeout, and not before", async () => {
  await using lab = await Lab.open();
  const outside = await Sockets.open(await lab.publicHost(), [7000]);
  const site = await lab.site("short-timeout", { change: { timeout: 2, ports: "random" } });
  const inside = await Sockets.open(site.hosts[0], [5000]);
  const ask = () => inside.send(5000, outside.machine.address, 7000);
  const [, port] = (await outside.after(7000, ask))!;
  const answer = () => inside.after(5000, () => outside.send(7000, site.external, port));
  assert.ok(await answer());
  // Only packets from the inside keep the mapping open. Answers don't.
  for (let i = 0; i < 5; i++) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    await outside.send(7000, site.external, port);
  }
  assert.equal(await answer(), undefined);
  assert.equal((await lab.counts(site)).mappings, 0);
  assert.notEqual((await outside.after(7000, ask))![1], port);
  await inside.end();
  await outside.end();
});

Deno.test("hosts behind one NAT reach each other at its external address only if the NAT hairpins", async () => {
  await using lab = await Lab.open();
  const outside = await Sockets.open(await lab.publicHost(), [7000]);
  for (const hairpin of [true, false]) {
    const site = await lab.site("full-cone", { hosts: 2, change: { hairpin } });
    const [first, second] = [
      await Sockets.open(site.hosts[0], [5000]),
      await Sockets.open(site.hosts[1], [5000]),
    ];
    const ask = () => first.send(5000, outside.machine.address, 7000);
    const [, port] = (await outside.after(7000, ask))!;
    const from = await first.after(5000, () => second.send(5000, site.external, port));
    assert.equal(from?.[0], hairpin ? site.external : undefined);
    await first.end();
    await second.end();
  }
  await outside.end();
});

Deno.test("a new external address ends all mappings, and new mappings use it", async () => {
  await using lab = await Lab.open();
  const outside = await Sockets.open(await lab.publicHost(), [7000]);
  for (const kind of ["linux", "full-cone"] as const) {
    const site = await lab.site(kind);
    const inside = await Sockets.open(site.hosts[0], [5000]);
    const ask = () => inside.send(5000, outside.machine.address, 7000);
    const [before, port] = (await outside.after(7000, ask))!;
    const after = await lab.changeAddress(site);
    assert.notEqual(before, after);
    assert.equal(
      await inside.after(5000, () => outside.send(7000, before, port)),
      undefined,
    );
    assert.equal((await outside.after(7000, ask))![0], after, kind);
    await inside.end();
  }
  await outside.end();
});
