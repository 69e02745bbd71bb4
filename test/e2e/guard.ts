/**
 * A guard process that removes a test's namespaces and control groups when the test can't: it holds the read end of a
 * pipe whose write end dies with the test process, whatever kills that (SIGKILL, a crash, Ctrl-C on the runner). Test
 * support.
 */
import { type ChildProcess, spawn } from 'node:child_process';

// "$1" is the prefix of the namespaces' names, "$2" the folder of sockets, state and logs. A line on standard input
// means that the test has cleaned up; the end of the input without one means that it died.
const GUARD = `
trap '' INT TERM HUP
if read -r _; then exit 0; fi
for path in /run/netns/"$1"*; do
  [ -e "$path" ] || continue
  name=\${path##*/}
  for pid in $(ip netns pids "$name"); do kill -KILL "$pid"; done
  ip netns del "$name"
done
# Containers of an engine that keeps its state in the folder: they are in namespaces of other names.
for file in $(find "$2" -name pidfile -path '*/userdata/*'); do kill -KILL "$(cat "$file")"; done
# Of containers that docker ran there (test/docker): a group can go when the last of its processes has.
for _ in {1..50}; do
  groups=$(find /sys/fs/cgroup -maxdepth 2 -type d -name "$1*")
  [ -n "$groups" ] || break
  find $groups -depth -type d -exec rmdir {} + 2>/dev/null
  sleep 0.1
done
rm -rf -- "$2"
`;

export interface Guard {
  /** The test has cleaned up itself: the guard ends without touching anything. */
  dismiss(): Promise<void>;
}

export function startGuard(prefix: string, folder: string): Guard {
  const child: ChildProcess = spawn('bash', ['-c', GUARD, 'guard', prefix, folder], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.unref();
  return {
    async dismiss() {
      child.ref();
      child.stdin?.end('done\n');
      await ended;
    },
  };
}
