/** How both programs word what Commander finds wrong with their arguments. */
import type { CommanderError } from 'commander';

/** Commander's message on one line, without its prefix. */
export function usageMessage(error: CommanderError): string {
  return error.message
    .replace(/^error: /, '')
    .replace(/\s+/g, ' ')
    .replace(/\.$/, '')
    .trim();
}
