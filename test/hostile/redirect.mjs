/**
 * Loaded before the compiled long form (`node --import`): whoever imports sys/libc.js gets stand-in-module.js, but that
 * module itself. Test support.
 */
import { register } from 'node:module';

const hooks = `
export async function resolve(specifier, context, next) {
  const found = await next(specifier, context);
  if (!found.url.endsWith('/src/sys/libc.js') || context.parentURL.endsWith('/stand-in-module.js')) return found;
  return { ...found, url: new URL('../../test/hostile/stand-in-module.js', found.url).href };
}`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);
