#!/usr/bin/env node
/**
 * vtepd: the host process as a table of contents.
 *
 * Read the options → check the host → embedded registry (if asked for) → forwarding (the data plane) → host (the control
 * plane) → API → wait for a signal → stop in reverse. Exit codes: 0 stopped by a signal, 1 a failure, 2 a wrong option.
 * Containers keep their interfaces when the process ends: they are persistent kernel objects, adopted at the next start.
 * What only some hosts run (embedded registry, Docker plugin) is loaded where it is started: a plain start is quicker.
 */
import { basename } from 'node:path';
import type { Logger } from 'pino';
import { startApi } from './control/api/server.js';
import { checkNetAdmin, readPrivileges } from './control/capabilities.js';
import { type DaemonConfig, loadConfig } from './control/config.js';
import { VtepError } from './control/errors.js';
import { createForwarding } from './control/forwarding-tables.js';
import { Host } from './control/host.js';
import type { HostOptions } from './control/host-options.js';
import { Lifecycle, StopRequested } from './control/lifecycle.js';
import { createLogger } from './control/log.js';
import { ContainerFinder } from './control/plugins/engines/container-finder.js';
import { createRegistryClient } from './control/registry/client.js';
import type { Registry } from './control/registry/registry.js';
import { followTlsFiles } from './control/registry/tls-files.js';
import { openToken } from './control/registry/token.js';
import { ServiceManager, type Signs, takeServiceManager } from './control/service-manager.js';
import { keepHeapSmall } from './control/small-heap.js';
import { checkIproute2, checkTun, freeSocketPath, prepareStateDirectory } from './control/startup-checks.js';
import { explainPortInUse, findUnderlay, type Underlay } from './control/underlay.js';
import { UnderlayMonitor } from './control/underlay-monitor.js';
import { UnderlayMtu } from './control/underlay-mtu.js';
import { VERSION } from './control/version.js';
import { allIps, endText, familiesOf, familyOf, type VtepIps } from './control/vtep-address.js';

async function main(): Promise<number> {
  keepHeapSmall();
  const serviceManager = takeServiceManager(process.env);
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
  const manager = new ServiceManager(serviceManager, logger);
  let failed = false;
  try {
    const underlay = await checkHost(config, logger);
    manager.ready(await start(config, underlay, lifecycle, logger));
    const signal = await lifecycle.untilStopRequested();
    manager.stopping(`stops: ${signal}`);
    logger.info({ event: 'daemon.stopping', signal }, `stops: ${signal}`);
  } catch (error) {
    failed = !(error instanceof StopRequested);
    if (failed) {
      manager.failed(complain(error));
      logger.debug({ event: 'daemon.start-failed', err: error }, 'start-up failed');
    } else {
      manager.stopping('stops before it was ready');
    }
  }
  const clean = await lifecycle.stop();
  if (!failed) logger.info({ event: 'daemon.ended' }, 'vtepd has stopped; the containers keep their interfaces');
  return failed || !clean ? 1 : 0;
}

async function checkHost(config: DaemonConfig, logger: Logger): Promise<Underlay> {
  const privileges = readPrivileges();
  checkNetAdmin(privileges);
  if (!privileges.has('SYS_ADMIN')) {
    const without =
      'runs without CAP_SYS_ADMIN: containers are attached by the Docker plugin alone, not by vtep attach';
    logger.info({ event: 'daemon.no-sys-admin', uid: privileges.uid }, without);
  }
  checkTun();
  await checkIproute2();
  const underlay = await findUnderlay(config);
  await prepareStateDirectory(config.stateDirectory);
  await freeSocketPath(config.socketPath);
  return underlay;
}

/** @returns what shows that it lives */
async function start(config: DaemonConfig, underlay: Underlay, lifecycle: Lifecycle, logger: Logger): Promise<Signs> {
  const { stateDirectory, socketPath, port, node } = config;
  const vtep = { ip: underlay.ip, otherIp: underlay.otherIp, port };

  let registryUrls = config.registryUrls;
  if (config.embeddedRegistry !== undefined) {
    const listen = config.embeddedRegistry;
    const embedded = await lifecycle.start('embedded registry', async () => {
      const { startEmbeddedRegistry } = await import('./control/registry/embedded/server.js');
      return startEmbeddedRegistry({ listen, stateDirectory });
    });
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
      servesDocker: config.dockerPlugin !== undefined,
      ...(config.dns && { dns: { upstream: config.dnsUpstream?.map((address) => ({ address, port: 53 })) } }),
      ...dockerOf(config),
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
  const { dockerPlugin, dockerScope: scope } = config;
  if (dockerPlugin !== undefined) {
    await lifecycle.start('Docker plugin', async () => {
      const { startDockerPlugin } = await import('./control/plugins/docker/server.js');
      return startDockerPlugin({
        host: host.pluginHost(),
        socketPath: dockerPlugin,
        scope,
        logger,
        hooks: host.docker,
      });
    });
    host.docker?.start();
  }
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
  return { workers: () => forwarding.status().workers, outline: () => host.outline() };
}

/** Docker's API is asked only where the plugin is on. The plugin is called as its socket. */
function dockerOf({ dockerPlugin, dockerApi, dockerScope: scope }: DaemonConfig): Pick<HostOptions, 'docker'> {
  if (dockerPlugin === undefined || dockerApi === undefined) return {};
  return { docker: { socketPath: dockerApi, driver: basename(dockerPlugin, '.sock'), scope } };
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

/** One line on standard error, whatever the log's level and format. @returns it */
function complain(error: unknown): string {
  const known = error instanceof VtepError;
  const message = error instanceof Error ? error.message : String(error);
  const suffix = known && error.code !== 'VTEP_ERR_INVALID' ? ` [${error.code}]` : '';
  const line = `${known ? '' : 'unexpected failure: '}${message.replace(/\s+/g, ' ')}${suffix}`;
  process.stderr.write(`vtepd: ${line}\n`);
  return line;
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
