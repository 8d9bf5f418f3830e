// Links of sealed values on the command line and in files. Messages never quote a link, because it contains a key.

import { writeSecret } from "../runtime/identity/identity.ts";
import { parseSealLink } from "../web/seal.js";
import { readSecretFile } from "./settings.ts";
import { explaining, UserError } from "./terminal/errors.ts";

/** A sealed value: its hash, and the key that opens it. */
export interface Link {
  readonly hash: string;
  readonly key: string;
}

/** Parses an argument that may be a link. Undefined if the argument names a value in another way. */
export function linkOf(text: string): Link | undefined {
  if (!/^dm:|#/i.test(text)) return undefined;
  const link = parseSealLink(text);
  if (link !== null) return link;
  throw new UserError(
    "this is no link: a link is dm:, 40 hex digits, # and 22 characters",
    true,
  );
}

/** Reads the link in a file. */
export function readLink(file: string): Link {
  const { text } = explaining(`${file} can't be read`, () => readSecretFile(file));
  const link = parseSealLink(text);
  if (link === null) {
    throw new UserError(`${file} does not contain a link: dm:, a hash, # and a key`);
  }
  return link;
}

/** Writes a link to a file that only its owner can read. */
export function writeLink(file: string, link: string): void {
  explaining(`${file} can't be written`, () => writeSecret(file, `${link}\n`));
}
