// The commit that an executable was built from. packaging/compile.ts inserts it into a copy of this file.

export const COMMIT: string = "dev";
