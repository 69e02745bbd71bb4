/**
 * POST /v1/cni: what vtep-cni sends, and the text that it prints. Control plane, main thread.
 *
 * The answer is 200 with a result, 204 where a command prints nothing, else an error as CNI has it (`code`, `msg`), which
 * is no error of the API's own form: the body is printed as it is.
 */
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { z } from 'zod';
import { checkInput } from '../../api/check-input.js';
import type { HostOperations } from '../../api/schema.js';
import { VtepError } from '../../errors.js';
import { isVersion, VERSIONS } from './cni-call.js';
import { CNI_CODES, CniError, toCniBody } from './cni-error.js';
import { CniPlugin } from './cni-plugin.js';

/** GC lists each attachment of a host, in about 110 bytes; prevResult of a long chain is far less. */
const BODY_BYTES_MAX = 4 * 1024 * 1024;

const requestSchema = z.strictObject({
  environment: z.record(z.string(), z.string()),
  config: z.record(z.string(), z.unknown(), 'must be a JSON object'),
});

export function addCniRoute(app: FastifyInstance, host: HostOperations, logger: Logger): void {
  const plugin = new CniPlugin(host);
  app.post('/v1/cni', { bodyLimit: BODY_BYTES_MAX }, async (request, reply) => {
    const { config, environment } = checkInput(requestSchema, request.body);
    try {
      const result = await plugin.run({ config, environment });
      return result === undefined ? reply.code(204).send() : result;
    } catch (error) {
      const body = toCniBody(error);
      const event = { command: environment.CNI_COMMAND, container: environment.CNI_CONTAINERID, code: body.code };
      if (body.code === CNI_CODES.internal) logger.error({ event: 'cni.failed', ...event, err: error }, body.msg);
      else logger.info({ event: 'cni.refused', ...event }, body.msg);
      const { cniVersion } = config;
      reply.code(httpStatus(error));
      return { cniVersion: isVersion(cniVersion) ? cniVersion : VERSIONS.at(-1), ...body };
    }
  });
}

function httpStatus(error: unknown): number {
  if (error instanceof VtepError) return error.httpStatus;
  return error instanceof CniError ? 400 : 500;
}
