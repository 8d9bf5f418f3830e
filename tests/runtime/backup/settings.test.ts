// The settings in a backup: each value is read again as it was, or is refused.

import assert from "node:assert/strict";
import { envVariables } from "../../../src/config/env_file.ts";
import { envText } from "../../../src/runtime/backup/backup.ts";
import { StorageError } from "../../../src/storage/sqlite.ts";

const VALUES = ["plain", "", "two words", "a#b", 'say "hi"', "it's", "it's $HOME #1", "C:\\new"];

Deno.test("a value is read from the lines as it was written", () => {
  for (const value of VALUES) {
    assert.deepEqual({ ...envVariables(envText(new Map([["NAME", value]]))) }, { NAME: value });
  }
});

Deno.test("a value that no quotes fit is refused", () => {
  for (const value of [`ab'cd"ef#g`, "it's\\new"]) {
    assert.throws(() => envText(new Map([["NAME", value]])), StorageError, value);
  }
});
