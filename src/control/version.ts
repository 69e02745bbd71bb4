/** The version of this build, read once from package.json. Any thread, both executables. */
import { readFileSync } from 'node:fs';

// src/control and dist/control are equally deep, so the same path holds before and after the build.
const packageJson: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));

export const VERSION: string = String((packageJson as { version?: unknown }).version);
