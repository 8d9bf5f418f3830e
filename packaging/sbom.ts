// Lists the contents of the executable as a CycloneDX 1.6 document: the runtime, and every npm package that src imports.

import { join } from "node:path";

/** The members of the output of `deno info --json` that are used. */
interface ModuleGraph {
  readonly modules: readonly { readonly npmPackage?: string }[];
  readonly npmPackages: Readonly<Record<string, NpmPackage>>;
}

interface NpmPackage {
  readonly name: string;
  readonly version: string;
  readonly dependencies: readonly string[];
  readonly registryUrl: string;
}

/** The members of deno.lock that are used. */
interface Lock {
  readonly npm: Readonly<Record<string, { readonly integrity: string }>>;
}

export interface SbomSources {
  readonly version: string;
  readonly commit: string;
  readonly denoVersion: string;
  /** The time of the commit, so that equal sources produce equal documents. */
  readonly time: string;
  readonly graph: ModuleGraph;
  readonly lock: Lock;
  /** Directory in which Deno keeps packages, by registry. */
  readonly npmCache: string;
}

export async function sbom(sources: SbomSources): Promise<Record<string, unknown>> {
  const { version, commit, denoVersion, time, graph, lock, npmCache } = sources;
  const roots = [...new Set(graph.modules.flatMap(({ npmPackage }) => npmPackage ?? []))].sort();
  const ids = closure(roots, graph.npmPackages);
  const self = `pkg:generic/dmnode@${version}`, deno = `pkg:github/denoland/deno@v${denoVersion}`;
  const references = new Map(ids.map((id) => [id, purl(graph.npmPackages[id])]));
  const npm = await Promise.all(ids.map(async (id) => {
    const { name, version, registryUrl } = graph.npmPackages[id];
    const directory = join(npmCache, new URL(registryUrl).host, name, version);
    return {
      type: "library",
      "bom-ref": references.get(id),
      name,
      version,
      purl: references.get(id),
      hashes: [{ alg: "SHA-512", content: hexOf(lock.npm[id].integrity) }],
      licenses: await licensesOf(join(directory, "package.json")),
    };
  }));
  const document = {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: {
      timestamp: time,
      component: {
        type: "application",
        "bom-ref": self,
        name: "dmnode",
        version,
        purl: self,
        licenses: [{ license: { id: "MIT" } }],
        properties: [{ name: "dmnode:commit", value: commit }],
      },
    },
    components: [
      {
        type: "platform",
        "bom-ref": deno,
        name: "deno",
        description: "denort, Deno's runtime, with V8, SQLite and the Rust crates it is made of",
        version: denoVersion,
        purl: deno,
        licenses: [{ license: { id: "MIT" } }],
      },
      ...npm,
    ],
    dependencies: [
      { ref: self, dependsOn: [deno, ...roots.map((id) => references.get(id))] },
      ...ids.map((id) => ({
        ref: references.get(id),
        dependsOn: graph.npmPackages[id].dependencies.map((inner) => references.get(inner)),
      })),
    ],
  };
  return { ...document, serialNumber: await serialNumber(JSON.stringify(document)) };
}

/** Returns these packages and all their dependencies, sorted. */
function closure(roots: readonly string[], packages: ModuleGraph["npmPackages"]): string[] {
  const found = new Set<string>();
  const visit = (id: string) => {
    if (found.has(id)) return;
    found.add(id);
    packages[id].dependencies.forEach(visit);
  };
  roots.forEach(visit);
  return [...found].sort();
}

function purl({ name, version }: NpmPackage): string {
  return `pkg:npm/${name.replace("@", "%40")}@${version}`;
}

async function licensesOf(manifest: string): Promise<unknown[]> {
  const { license } = JSON.parse(await Deno.readTextFile(manifest));
  if (typeof license !== "string") return [];
  return [/[ ()]/.test(license) ? { expression: license } : { license: { id: license } }];
}

/** Converts a lock file's `sha512-` and base64 to hex. */
function hexOf(integrity: string): string {
  const bytes = Uint8Array.from(atob(integrity.replace(/^sha512-/, "")), (c) => c.charCodeAt(0));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A UUID that is derived from the content. */
async function serialNumber(text: string): Promise<string> {
  const bytes = new Uint8Array(
    await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)),
  ).subarray(0, 16);
  bytes[6] = bytes[6] & 15 | 0x80; // version 8: custom
  bytes[8] = bytes[8] & 63 | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `urn:uuid:${hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5")}`;
}
