// The .env file's text.

import { ConfigError } from "../config.ts";
import { reason } from "./errors.ts";

/** The text of .env in the working directory, or of a file that was named and then has to be there. */
export function readEnvFile(named: string | undefined): string | undefined {
  try {
    return Deno.readTextFileSync(named ?? ".env");
  } catch (error) {
    if (named === undefined && error instanceof Deno.errors.NotFound) return undefined;
    throw new ConfigError(`${named ?? ".env"} can't be read: ${reason(error)}`);
  }
}
