// Raw bytes.
//
//   fromBase64(text), toBase64(bytes), utf8(bytes) (null if they are not text), encode(text)
//   hexDump(bytes, { limit: 4096 })   // '00000000  48 65 6c …  |Hel…|' lines

/** Bytes of base64. */
export function fromBase64(text) {
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}

/** Base64 of bytes. */
export function toBase64(bytes) {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

/** UTF-8 of text. */
export function encode(text) {
  return new TextEncoder().encode(text);
}

/** The text that the bytes are, or null. */
export function utf8(bytes) {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}

/** Offset, hexadecimal and ASCII, sixteen a line. */
export function hexDump(bytes, { limit = 4096, width = 16 } = {}) {
  const lines = [];
  const shown = Math.min(bytes.length, limit);
  for (let at = 0; at < shown; at += width) {
    const part = bytes.subarray(at, Math.min(at + width, shown));
    const hex = Array.from(part, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
    const text = Array.from(part, (byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : '·'));
    lines.push(`${at.toString(16).padStart(6, '0')}  ${hex.padEnd(width * 3 - 1)}  ${text.join('')}`);
  }
  if (shown < bytes.length) lines.push(`… ${bytes.length - shown} more bytes`);
  return lines.join('\n');
}
