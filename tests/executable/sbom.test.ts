// The SBOM lists the contents of the executable.

import assert from "node:assert/strict";
import { join } from "node:path";
import { sbom } from "../../packaging/sbom.ts";

Deno.test("the SBOM names the runtime and what src imports, with hashes, licenses and dependencies", async () => {
  const npmCache = await Deno.makeTempDir();
  for (const [path, license] of [["a/1.0.0", "MIT"], ["@s/b/2.0.0", "(MIT OR ISC)"]]) {
    await Deno.mkdir(join(npmCache, "npm.example", path), { recursive: true });
    const file = join(npmCache, "npm.example", path, "package.json");
    await Deno.writeTextFile(file, JSON.stringify({ license }));
  }
  const registryUrl = "https://npm.example/";
  const sources = {
    version: "1.2.3",
    commit: "abc",
    denoVersion: "2.9.6",
    time: "2026-11-22T00:00:00.000Z",
    graph: {
      modules: [{}, { npmPackage: "a@1.0.0" }, { npmPackage: "a@1.0.0" }],
      npmPackages: {
        "a@1.0.0": { name: "a", version: "1.0.0", dependencies: ["@s/b@2.0.0"], registryUrl },
        "@s/b@2.0.0": { name: "@s/b", version: "2.0.0", dependencies: [], registryUrl },
        "test-only@1.0.0": { name: "test-only", version: "1.0.0", dependencies: [], registryUrl },
      },
    },
    lock: {
      npm: {
        "a@1.0.0": { integrity: "sha512-AAEC" },
        "@s/b@2.0.0": { integrity: "sha512-/w==" },
      },
    },
    npmCache,
  };
  // deno-lint-ignore no-explicit-any
  const document = await sbom(sources) as any;
  assert.equal(document.bomFormat, "CycloneDX");
  assert.match(document.serialNumber, /^urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  assert.deepEqual(
    document.components.map((c: Record<string, unknown>) => c.purl),
    ["pkg:github/denoland/deno@v2.9.6", "pkg:npm/%40s/b@2.0.0", "pkg:npm/a@1.0.0"],
  );
  assert.deepEqual(document.components[2].hashes, [{ alg: "SHA-512", content: "000102" }]);
  assert.deepEqual(document.components[1].licenses, [{ expression: "(MIT OR ISC)" }]);
  assert.deepEqual(document.dependencies[0].dependsOn, [
    "pkg:github/denoland/deno@v2.9.6",
    "pkg:npm/a@1.0.0",
  ]);
  assert.deepEqual(document.dependencies[2], {
    ref: "pkg:npm/a@1.0.0",
    dependsOn: ["pkg:npm/%40s/b@2.0.0"],
  });
  assert.deepEqual(await sbom(sources), document, "the same sources give the same document");
  await Deno.remove(npmCache, { recursive: true });
});
