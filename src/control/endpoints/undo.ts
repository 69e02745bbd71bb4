/** What an operation has made, to be unmade in reverse after a failure. Control plane. */
import type { Logger } from 'pino';

export type UndoStep = () => Promise<unknown> | unknown;

/** The last step first; one that fails is logged and the others follow. Never rejects. */
export async function runUndo(steps: readonly UndoStep[], logger: Logger, endpoint: string): Promise<void> {
  for (const step of [...steps].reverse()) {
    try {
      await step();
    } catch (error) {
      logger.warn(
        { event: 'endpoint.undo-failed', err: error, endpoint },
        `an attach could not be undone in full: ${(error as Error).message}`,
      );
    }
  }
}
