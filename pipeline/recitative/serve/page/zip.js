// ZIP files, without compression.
const utf8 = new TextEncoder();

// files: [{ name, bytes }], with different names
export function zipOf(files) {
  const parts = [], directory = [];
  let offset = 0;
  for (const { name, bytes } of files) {
    const path = utf8.encode(name);
    // Version 2.0, names in UTF-8, not compressed, 1980-01-01 00:00, checksum, both sizes, length of the name, no more.
    const facts = [...little(20, 2), ...little(0x800, 2), ...little(0, 4), ...little(0x21, 2), ...little(checksum(bytes), 4),
      ...little(bytes.length, 4), ...little(bytes.length, 4), ...little(path.length, 2), ...little(0, 2)];
    directory.push(...little(0x02014b50, 4), ...little(20, 2), ...facts, ...little(0, 10), ...little(offset, 4), ...path);
    const head = Uint8Array.from([...little(0x04034b50, 4), ...facts, ...path]);
    parts.push(head, bytes);
    offset += head.length + bytes.length;
  }
  const end = [...little(0x06054b50, 4), ...little(0, 4), ...little(files.length, 2), ...little(files.length, 2),
    ...little(directory.length, 4), ...little(offset, 4), ...little(0, 2)];
  return new Blob([...parts, Uint8Array.from([...directory, ...end])], { type: "application/zip" });
}

function little(number, size) {
  return Array.from({ length: size }, (_, i) => (i < 4 ? (number >>> (8 * i)) & 255 : 0));
}

// CRC-32
function checksum(bytes) {
  let crc = -1;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}
