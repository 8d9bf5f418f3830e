// Prints the section of CHANGELOG.md about a version, for its release notes. It fails if there is no such section, or if
// the version differs from deno.json. Usage: deno run --allow-read packaging/release_notes.ts v0.1.0

import { fileURLToPath } from "node:url";
import manifest from "../deno.json" with { type: "json" };

/** The text below a version's heading, or undefined if the changelog has no such heading. */
export function notesOf(changelog: string, version: string): string | undefined {
  const lines = changelog.split(/\r?\n/);
  const isHeading = (line: string) => line.startsWith("## ");
  const start = lines.findIndex((line) => isHeading(line) && line.includes(`[${version}]`));
  if (start < 0) return undefined;
  const length = lines.slice(start + 1).findIndex(isHeading);
  const text = lines.slice(start + 1, length < 0 ? undefined : start + 1 + length).join("\n");
  // Remove the link definitions at the end of the file.
  return text.replace(/^\[[^\]]+\]: .*$/gm, "").trim() || undefined;
}

if (import.meta.main) {
  const fail = (message: string): never => {
    console.error(`release_notes: ${message}`);
    Deno.exit(1);
  };
  const version = (Deno.args[0] ?? "").replace(/^v/, "");
  if (version !== manifest.version) {
    fail(`the tag says ${JSON.stringify(version)}, deno.json says ${manifest.version}`);
  }
  const changelog = fileURLToPath(new URL("../CHANGELOG.md", import.meta.url));
  console.log(
    notesOf(await Deno.readTextFile(changelog), version) ??
      fail(`CHANGELOG.md has no section ## [${version}]`),
  );
}
