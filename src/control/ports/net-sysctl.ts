/**
 * The files of the settings of a network namespace (sysctl net.*), for whoever reads or writes them by `cat` and `tee`.
 *
 * Container engines show /proc/sys read-only, to root as well, and with the host's network they set nothing from outside.
 * A second view of it, mounted at /host/proc/sys/net, is not in their way (docs/image.md). Each view shows a process the
 * settings of the namespace that it is in.
 */
import { existsSync } from 'node:fs';

const OWN = '/proc/sys/net';
const SECOND_VIEW = '/host/proc/sys/net';

/** @param setting such as `ipv4/ip_forward` */
export function netSysctlPath(setting: string, exists: (path: string) => boolean = existsSync): string {
  return `${exists(SECOND_VIEW) ? SECOND_VIEW : OWN}/${setting}`;
}
