// The commit that an executable was made from: packaging/compile.ts fills it in, in its own copy of the sources.

export const COMMIT: string = "dev";
