/**
 * Which of the host's ports a container gets that asked for any, or for one of a range. Control plane; pure.
 *
 * Chosen is the first that no container has and, for "any", that comes next in the turn: a port that was given a moment ago
 * is not given again soon.
 */
import { type PublishedPort, publishText } from '../api/publish-schema.js';
import { VtepError } from '../errors.js';

export interface WantedPort {
  readonly protocol: 'tcp' | 'udp';
  readonly containerPort: number;
  /** Absent: each address of the host. */
  readonly hostAddress?: string;
  /** The first free one of them; absent: any. */
  readonly hostPorts?: { readonly first: number; readonly last: number };
}

/** IANA's dynamic ports, as Docker takes them. */
const ANY = { first: 49_153, last: 65_535 };
let turn = ANY.first + Math.floor(Math.random() * (ANY.last - ANY.first));

/**
 * @param isFree whether nobody has the port
 * @throws VtepError VTEP_ERR_HOST_PORT_IN_USE
 */
export async function choosePorts(
  wanted: readonly WantedPort[],
  isFree: (port: PublishedPort) => Promise<boolean>,
): Promise<PublishedPort[]> {
  const chosen: PublishedPort[] = [];
  for (const want of wanted) {
    const { protocol, containerPort, hostAddress, hostPorts } = want;
    const rest = { protocol, containerPort, ...(hostAddress === undefined ? {} : { hostAddress }) };
    // One that was asked for by name: whoever publishes it says what is in the way.
    if (hostPorts !== undefined && hostPorts.first === hostPorts.last) {
      chosen.push({ ...rest, hostPort: hostPorts.first });
      continue;
    }
    const isTaken = (hostPort: number) => chosen.some((one) => one.hostPort === hostPort && one.protocol === protocol);
    let found: PublishedPort | undefined;
    for (const hostPort of candidates(hostPorts)) {
      if (isTaken(hostPort) || !(await isFree({ ...rest, hostPort }))) continue;
      found = { ...rest, hostPort };
      break;
    }
    if (found === undefined) throw noneFree(want);
    chosen.push(found);
  }
  return chosen;
}

function* candidates(range: WantedPort['hostPorts']): Generator<number> {
  if (range !== undefined) {
    for (let port = range.first; port <= range.last; port++) yield port;
    return;
  }
  for (let tries = ANY.first; tries <= ANY.last; tries++) {
    turn = turn >= ANY.last ? ANY.first : turn + 1;
    yield turn;
  }
}

function noneFree({ protocol, containerPort, hostPorts = ANY }: WantedPort): VtepError {
  const example = publishText({ protocol, hostPort: hostPorts.first, containerPort });
  const text = `no port of ${hostPorts.first}-${hostPorts.last}/${protocol} of the host is free for ${example}: publish others, or free one`;
  return new VtepError('VTEP_ERR_HOST_PORT_IN_USE', text);
}
