#!/usr/bin/env node
/**
 * vtepd: the host process as a table of contents.
 *
 * Read the options → check the host → embedded registry (if asked for) → forwarding (the data plane) → host (the control
 * plane) → API → wait for a signal → stop in reverse. Exit codes: 0 stopped by a signal, 1 a failure, 2 a wrong option.
 * Containers keep their interfaces when the process ends: they are persistent kernel objects, adopted at the next start.
 */
import type { Logger } from 'pino';
import { startApi } from './control/api/server.js';
import { type DaemonConfig, loadConfig } from './control/config.js';
import { VtepError } from './control/errors.js';
import { createForwarding } from './control/forwarding-tables.js';
import { Host } from './control/host.js';
import { Lifecycle, StopRequested } from './control/lifecycle.js';
import { createLogger } from './control/log.js';
import { ContainerFinder } from './control/plugins/engines/container-finder.js';
import { createRegistryClient } from './control/registry/client.js';
import { startEmbeddedRegistry } from './control/registry/embedded/server.js';
import type { Registry } from './control/registry/registry.js';
import { followTlsFiles } from './control/registry/tls-files.js';
import { openToken } from './control/registry/token.js';
import { keepHeapSmall } from './control/small-heap.js';
import {
  checkIproute2,
  checkPrivileges,
  checkTun,
  freeSocketPath,
  prepareStateDirectory,
} from './control/startup-checks.js';
import { explainPortInUse, findUnderlay, type Underlay } from './control/underlay.js';
import { UnderlayMonitor } from './control/underlay-monitor.js';
import { UnderlayMtu } from './control/underlay-mtu.js';
import { VERSION } from './control/version.js';
import { allIps, endText, familiesOf, familyOf, type VtepIps } from './control/vtep-address.js';

async function main(): Promise<number> {
  keepHeapSmall();
  let config: DaemonConfig | undefined;
  try {
    config = loadConfig({
      argv: process.argv.slice(2),
      env: process.env,
      stderrIsTty: process.stderr.isTTY === true,
      print: (text) => process.stdout.write(text),
    });
  } catch (error) {
    complain(error);
    return 2;
  }
  if (config === undefined) return 0;

  const logger = createLogger({ level: config.logLevel, format: config.logFormat });
  endOnDefect(logger);
  const lifecycle = new Lifecycle({ logger });
  let failed = false;
  try {
    const underlay = await checkHost(config);
    await start(config, underlay, lifecycle, logger);
    const signal = await lifecycle.untilStopRequested();
    logger.info({ event: 'daemon.stopping', signal }, `stops: ${signal}`);
  } catch (error) {
    failed = !(error instanceof StopRequested);
    if (failed) {
      complain(error);
      logger.debug({ event: 'daemon.start-failed', err: error }, 'start-up failed');
    }
  }
  const clean = await lifecycle.stop();
  if (!failed) logger.info({ event: 'daemon.ended' }, 'vtepd has stopped; the containers keep their interfaces');
  return failed || !clean ? 1 : 0;
}

async function checkHost(config: DaemonConfig): Promise<Underlay> {
  checkPrivileges();
  checkTun();
  await checkIproute2();
  const underlay = await findUnderlay(config);
  await prepareStateDirectory(config.stateDirectory);
  await freeSocketPath(config.socketPath);
  return underlay;
}

async function start(config: DaemonConfig, underlay: Underlay, lifecycle: Lifecycle, logger: Logger): Promise<void> {
  const { stateDirectory, socketPath, port, node } = config;
  const vtep = { ip: underlay.ip, otherIp: underlay.otherIp, port };

  let registryUrls = config.registryUrls;
  if (config.embeddedRegistry !== undefined) {
    const listen = config.embeddedRegistry;
    const embedded = await lifecycle.start('embedded registry', () =>
      startEmbeddedRegistry({ listen, stateDirectory }),
    );
    registryUrls ??= [embedded.url];
  }
  const registry = openRegistry(config, registryUrls ?? []);

  const { workers, fdbEntries, sourcePorts, spinMicroseconds, workerNice, offloads, outer } = config;
  const listen = { address: vtep.ip, otherAddress: vtep.otherIp, port };
  const { multicastHops, multicastFrom, queryIntervalSeconds } = config;
  const own = { outer, underlayInterface: underlay.interface, multicastHops, multicastFrom, queryIntervalSeconds };
  const dataPlane = { listen, workers, fdbEntries, sourcePorts, spinMicroseconds, workerNice, offloads, ...own };
  const forwarding = await lifecycle
    .start('forwarding', () => createForwarding({ ...dataPlane, logger }))
    .catch(async (error: unknown) => Promise.reject(await explainPortInUse(error, port)));

  const host = await lifecycle.start('host', () =>
    Host.start({
      node,
      registry,
      vtep,
      underlay: { interface: underlay.interface, mtuBytes: underlay.mtuBytes },
      stateDirectory,
      forwarding,
      logger,
      sessionTtlSeconds: config.sessionTtlSeconds,
      spareAddresses: config.spareAddresses,
      reapAfterMs: config.reapAfterSeconds * 1000,
      pools: config.defaultPools,
      containers: ContainerFinder.ofHost(config.dockerApi),
      ...(config.dns && { dns: { upstream: config.dnsUpstream?.map((address) => ({ address, port: 53 })) } }),
      version: VERSION,
    }),
  );
  await lifecycle.start('underlay monitor', async () => {
    const onMoved = (ips: VtepIps) => host.moveUnderlay(ips);
    const onReturned = () => host.returnToRegistry();
    const follows = familiesOf(underlay).filter((family) => !config.advertise?.some((ip) => familyOf(ip) === family));
    const peers = () => forwarding.vteps().map(({ address }) => address);
    const onMtu = (mtuBytes: number) => host.followMtu(mtuBytes);
    const mtu = new UnderlayMtu({ interface: underlay.interface, logger, peers, onMtu });
    return new UnderlayMonitor({ ...underlay, follows, logger, onMoved, onReturned, mtu });
  });
  await lifecycle.start('API', () => startApi({ host, socketPath, logger }));

  const facts = {
    node,
    vtep: allIps(vtep)
      .map((ip) => endText(ip, port))
      .join(' '),
    underlay: underlay.interface,
    registry: registry.url,
    socket: socketPath,
  };
  logger.info({ event: 'daemon.ready', version: VERSION, ...facts }, 'vtepd is ready');
}

/** @throws VtepError VTEP_ERR_INVALID for a file of the token or of TLS that is not what it should be. */
function openRegistry(config: DaemonConfig, url: readonly string[]): Registry {
  const { datacenter, registryPrefix: prefix, registryNamespace: namespace, registryPartition: partition } = config;
  return createRegistryClient({
    ...{ url, prefix, datacenter, namespace, partition },
    token: openToken({ token: config.token, file: config.registryTokenFile }),
    tls: followTlsFiles({ ca: config.registryCa, cert: config.registryCert, key: config.registryKey }),
  });
}

/** One line on standard error, whatever the log's level and format. */
function complain(error: unknown): void {
  const known = error instanceof VtepError;
  const message = error instanceof Error ? error.message : String(error);
  const suffix = known && error.code !== 'VTEP_ERR_INVALID' ? ` [${error.code}]` : '';
  process.stderr.write(`vtepd: ${known ? '' : 'unexpected failure: '}${message.replace(/\s+/g, ' ')}${suffix}\n`);
}

/** A defect leaves the state unknown: better a restart that adopts what the kernel has than going on. */
function endOnDefect(logger: Logger): void {
  const end = (error: unknown) => {
    logger.fatal({ event: 'daemon.defect', err: error }, 'vtepd ends on a defect');
    process.exit(1);
  };
  process.on('uncaughtException', end);
  process.on('unhandledRejection', end);
}

process.exit(await main());
