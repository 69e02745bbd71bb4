#!/usr/bin/env node
/** vtep: the operator's commands, over vtepd's unix socket. */
import { runCli } from './cli/program.js';

// `vtep ... | head` closes the pipe early: that is the reader's good right and no failure.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
}

// Not process.exit(): it would cut off what is still being written to a pipe.
process.exitCode = await runCli(process.argv.slice(2), {
  env: process.env,
  stdout: (text) => process.stdout.write(text),
  stderr: (text) => process.stderr.write(text),
});
