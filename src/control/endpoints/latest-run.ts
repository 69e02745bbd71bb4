/**
 * Runs a job once more for any number of requests that came since it last began: work that looks at the present state
 * needs no queue. Control plane.
 *
 *     request ─▶ idle? run : one more run is due ─▶ (run ends) ─▶ due? run again
 */
export class LatestRun {
  private readonly job: () => Promise<void>;
  private running: Promise<void> | undefined;
  private isDue = false;

  /** @param job must not reject. */
  constructor(job: () => Promise<void>) {
    this.job = job;
  }

  /** The job will begin after this call, if not now. */
  request(): void {
    this.isDue = true;
    this.running ??= this.runAll().finally(() => {
      this.running = undefined;
    });
  }

  /** Resolves when nothing runs or is due. */
  async idle(): Promise<void> {
    await this.running;
  }

  private async runAll(): Promise<void> {
    while (this.isDue) {
      this.isDue = false;
      await this.job();
    }
  }
}
