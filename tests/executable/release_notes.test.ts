// The release notes are the changelog's section about the version.

import assert from "node:assert/strict";
import { notesOf } from "../../packaging/release_notes.ts";

const CHANGELOG = `# Changelog

## [Unreleased]

### Added
- Not yet.

## [0.2.0] - 2026-11-22

### Added
- Something.

## [0.1.0]

- The first.

[0.2.0]: https://example.org/0.2.0
`;

Deno.test("the notes of a version are the text below its heading", () => {
  assert.equal(notesOf(CHANGELOG, "0.2.0"), "### Added\n- Something.");
  assert.equal(notesOf(CHANGELOG, "0.1.0"), "- The first.");
  assert.equal(notesOf(CHANGELOG, "0.3.0"), undefined);
  assert.equal(notesOf("## [0.1.0]\n\n## [0.0.1]\nold", "0.1.0"), undefined);
});
