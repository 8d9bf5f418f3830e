// The .env file's text, and the token's file.

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

/** The token in the first line of a file that API_TOKEN_FILE names. */
export function readTokenFile(path: string): string {
  try {
    return Deno.readTextFileSync(path).split(/\r?\n/)[0].trim();
  } catch (error) {
    throw new ConfigError(`API_TOKEN_FILE: ${path} can't be read: ${reason(error)}`);
  }
}
