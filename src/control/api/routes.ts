/**
 * The routes of the HTTP API: check the request, call the host, answer. No decision is taken here.
 *
 * Place: control plane, main thread; server.ts mounts this on the unix socket. The table of routes is in schema.ts.
 */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { checkInput } from './check-input.js';
import {
  attachSchema,
  createNetworkSchema,
  detachSchema,
  type HostOperations,
  nameSchema,
  networkQuerySchema,
  peerInputSchema,
  removeNetworkQuerySchema,
} from './schema.js';

const byNameSchema = z.object({ name: nameSchema });
const ID_RULE = 'must be the id of an endpoint, as "vtep endpoint ls" shows it';
const byIdSchema = z.object({ id: z.string().regex(/^[\w.:-]{1,128}$/, ID_RULE) });

export function addRoutes(app: FastifyInstance, host: HostOperations): void {
  app.get('/healthz', async () => ({ ok: true }));
  app.get('/v1/status', async () => host.status());

  app.get('/v1/networks', async () => host.listNetworks());
  app.post('/v1/networks', async (request, reply) => {
    reply.code(201);
    return host.createNetwork(checkInput(createNetworkSchema, request.body));
  });
  app.get('/v1/networks/:name', async (request) => host.inspectNetwork(checkInput(byNameSchema, request.params).name));
  app.delete('/v1/networks/:name', async (request, reply) => {
    const { name } = checkInput(byNameSchema, request.params);
    const { force } = checkInput(removeNetworkQuerySchema, request.query);
    await (force === 'true' ? host.removeNetwork(name, true) : host.removeNetwork(name));
    return reply.code(204).send();
  });

  app.get('/v1/endpoints', async (request) =>
    host.listEndpoints(checkInput(networkQuerySchema, request.query).network),
  );
  app.post('/v1/endpoints', async (request, reply) => {
    const endpoint = await host.attach(checkInput(attachSchema, request.body));
    reply.code(endpoint.existed === true ? 200 : 201);
    return endpoint;
  });
  app.delete('/v1/endpoints/:id', async (request, reply) => {
    await host.detachById(checkInput(byIdSchema, request.params).id);
    return reply.code(204).send();
  });
  app.post('/v1/detach', async (request) => host.detach(checkInput(detachSchema, request.body)));

  app.get('/v1/nodes', async () => host.listNodes());

  app.get('/v1/peers', async (request) => host.listPeers(checkInput(networkQuerySchema, request.query).network));
  app.post('/v1/peers', async (request, reply) => {
    reply.code(201);
    return host.addPeer(checkInput(peerInputSchema, request.body));
  });
  app.post('/v1/peers/remove', async (request, reply) => {
    await host.removePeer(checkInput(peerInputSchema, request.body));
    return reply.code(204).send();
  });

  app.get('/v1/fdb', async (request) => host.fdb(checkInput(networkQuerySchema, request.query).network));
  app.get('/v1/neighbours', async (request) => host.neighbours(checkInput(networkQuerySchema, request.query).network));
}
