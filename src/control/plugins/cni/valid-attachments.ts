/** What GC is told of: the attachments of a configuration that are to stay. Pure. */
import { z } from 'zod';
import { checkInput } from '../../api/check-input.js';
import { ownerOf } from './cni-call.js';

const FIELD = 'cni.dev/valid-attachments';
const RULE = 'must be a list of { "containerID", "ifname" }';

const gcSchema = z.looseObject({
  [FIELD]: z.array(z.looseObject({ containerID: z.string(RULE), ifname: z.string(RULE) }, RULE), RULE),
});

/** @returns their owners. @throws VtepError VTEP_ERR_INVALID, also if the list is not there: all would go then */
export function checkValidAttachments(config: unknown, configName: string): Set<string> {
  const valid = checkInput(gcSchema, config)[FIELD] as { containerID: string; ifname: string }[];
  return new Set(valid.map(({ containerID: containerId, ifname }) => ownerOf({ containerId, ifname }, configName)));
}
