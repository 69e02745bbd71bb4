/**
 * Keeps V8's young generation at its first size. Readings of the registry make garbage in bursts, for which V8 would take
 * up to 48 MB that it does not give back; a daemon that mostly sleeps is better small than fast. Control plane, called
 * before anything else of it.
 */
import { setFlagsFromString } from 'node:v8';

export function keepHeapSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
}
