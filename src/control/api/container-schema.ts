/** A container by the name that its engine knows it by, in requests. Pure. */
import { z } from 'zod';

export const ENGINE_NAMES = ['docker', 'podman', 'nerdctl'] as const;
export type EngineName = (typeof ENGINE_NAMES)[number];

const CONTAINER_RULE = 'must be the name or id of a container: letters, digits, "_", "." and "-"';
const ENGINE_RULE = 'must be docker, podman, nerdctl or auto';
const YES_NO_RULE = 'must be true or false';

export const containerFields = {
  container: z
    .string(CONTAINER_RULE)
    .regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/, CONTAINER_RULE)
    .optional(),
  /** Whose container it is. @default auto: whichever has it */
  engine: z.enum([...ENGINE_NAMES, 'auto'], ENGINE_RULE).optional(),
};

export const standingFields = {
  /** It comes back when the container runs again, with its addresses, MAC and ports. @default true with `container` */
  standing: z.boolean(YES_NO_RULE).optional(),
  /** What is attached already, and as is wanted, is answered as if it had just been attached. */
  mayExist: z.boolean(YES_NO_RULE).optional(),
};

/** That nothing is attached is no error. */
export const ifExistsField = { ifExists: z.boolean(YES_NO_RULE).optional() };

export function hasContainer(input: { container?: unknown; engine?: unknown }): boolean {
  return input.engine === undefined || input.container !== undefined;
}
export const ENGINE_ALONE = { path: ['engine'], message: 'needs a container' };

export function canStand(input: { pid?: unknown; standing?: unknown }): boolean {
  return input.standing !== true || input.pid === undefined;
}
export const PID_STANDS = {
  path: ['standing'],
  message: 'needs a name that the container is found by again: give netns or container, not pid',
};
