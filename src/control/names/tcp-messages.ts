/** DNS messages in a byte stream: each after its length in two bytes (RFC 1035 section 4.2.2). Pure. */

const LENGTH_BYTES = 2;

export class TcpMessages {
  private rest: Buffer = Buffer.alloc(0);

  /** How many bytes of an unfinished message wait. */
  get waitingBytes(): number {
    return this.rest.length;
  }

  /** @returns the messages that are complete now. */
  push(chunk: Buffer): Buffer[] {
    const bytes = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk]);
    const messages: Buffer[] = [];
    let offset = 0;
    while (bytes.length - offset >= LENGTH_BYTES) {
      const endOffset = offset + LENGTH_BYTES + bytes.readUInt16BE(offset);
      if (endOffset > bytes.length) break;
      messages.push(bytes.subarray(offset + LENGTH_BYTES, endOffset));
      offset = endOffset;
    }
    this.rest = Buffer.from(bytes.subarray(offset));
    return messages;
  }
}

export function withLength(message: Buffer): Buffer {
  const framed = Buffer.allocUnsafe(LENGTH_BYTES + message.length);
  framed.writeUInt16BE(message.length, 0);
  message.copy(framed, LENGTH_BYTES);
  return framed;
}
