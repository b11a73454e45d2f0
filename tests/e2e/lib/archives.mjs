// Archives made by hand, good and hostile: zip, tar, and zstd frames that are not compressed.

import zlib, { deflateRawSync, inflateRawSync } from 'node:zlib';

const table = Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k += 1) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c >>> 0;
});
const sum = zlib.crc32 ?? ((bytes) => {
  let c = 0xffffffff;
  for (const byte of bytes) c = table[(c ^ byte) & 0xff] ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
});

/** A zip archive; `size` lies about the content's, `mode` is as stat has it. */
export function zip(files) {
  const parts = [];
  const directory = [];
  let at = 0;
  for (const { name, content = Buffer.alloc(0), size, mode = 0o100644, packed = deflateRawSync(content) } of files) {
    const text = Buffer.from(name);
    const common = Buffer.alloc(26);
    [20, 0x800, 8, 0, 0x21].forEach((word, i) => common.writeUInt16LE(word, 2 * i));
    [sum(content), packed.length, size ?? content.length].forEach((word, i) => common.writeUInt32LE(word, 10 + 4 * i));
    common.writeUInt16LE(text.length, 22);
    const local = Buffer.concat([Buffer.from('PK\x03\x04', 'latin1'), common, text, packed]);
    const rest = Buffer.alloc(14);
    rest.writeUInt32LE((mode << 16) >>> 0, 6);
    rest.writeUInt32LE(at, 10);
    directory.push(Buffer.from('PK\x01\x02\x14\x03', 'latin1'), common, rest, text);
    parts.push(local);
    at += local.length;
  }
  const all = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 0, 'latin1');
  end.writeUInt16LE(files.length, 8);
  end.writeUInt16LE(files.length, 10);
  end.writeUInt32LE(all.length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...parts, all, end]);
}

/** Names and contents of a zip archive, read by its directory. */
export function unzip(bytes) {
  const end = bytes.lastIndexOf('PK\x05\x06', undefined, 'latin1');
  const files = new Map();
  let at = bytes.readUInt32LE(end + 16);
  for (let left = bytes.readUInt16LE(end + 10); left > 0; left -= 1) {
    const [packed, name, extra, comment] = [bytes.readUInt32LE(at + 20), bytes.readUInt16LE(at + 28), bytes.readUInt16LE(at + 30), bytes.readUInt16LE(at + 32)];
    const local = bytes.readUInt32LE(at + 42);
    const data = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
    const raw = bytes.subarray(data, data + packed);
    files.set(bytes.toString('utf8', at + 46, at + 46 + name), bytes.readUInt16LE(at + 10) ? inflateRawSync(raw) : raw);
    at += 46 + name + extra + comment;
  }
  return files;
}

/** A tar archive of `{name, content, type, link}`. */
export function tar(entries) {
  const parts = entries.map(({ name, content = Buffer.alloc(0), type = '0', link = '' }) => {
    const header = Buffer.alloc(512);
    header.write(name, 0);
    header.write('0000644\0', 100);
    header.write(`${content.length.toString(8).padStart(11, '0')}\0`, 124);
    header.write('        ', 148);
    header.write(type, 156);
    header.write(link, 157);
    header.write('ustar\x0000', 257, 'latin1');
    header.write(`${header.reduce((all, byte) => all + byte, 0).toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
    return Buffer.concat([header, content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
  });
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}

/** Names and contents of a tar archive. */
export function untar(bytes) {
  const files = new Map();
  let long = null;
  for (let at = 0; at + 512 <= bytes.length && bytes[at]; ) {
    const text = (from, to) => bytes.toString('utf8', at + from, at + to).split('\0')[0];
    const [size, type] = [parseInt(text(124, 136), 8), text(156, 157)];
    const content = bytes.subarray(at + 512, at + 512 + size);
    if (type === 'L') long = content.toString().split('\0')[0];
    else {
      files.set(long ?? text(0, 100), content);
      long = null;
    }
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return files;
}

const MAGIC = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58];
const block = (size, kind, isLast) => {
  const header = Buffer.alloc(3);
  header.writeUIntLE((size << 3) | (kind << 1) | (isLast ? 1 : 0), 0, 3);
  return header;
};

/** A zstd frame of blocks that are not compressed (RFC 8878, 3.1.1.2). */
export function zstd(bytes) {
  const parts = [Buffer.from(MAGIC)];
  for (let at = 0; at === 0 || at < bytes.length; at += 0x10000) {
    const part = bytes.subarray(at, at + 0x10000);
    parts.push(block(part.length, 0, at + 0x10000 >= bytes.length), part);
  }
  return Buffer.concat(parts);
}

/** A tar.zst of one file of as many zeros, which is a few kilobytes itself. */
export function bomb(bytes) {
  const [header] = [tar([{ name: 'bomb' }]).subarray(0, 512)];
  header.write(`${bytes.toString(8).padStart(11, '0')}\0`, 124);
  header.write('        ', 148);
  header.write(`${header.reduce((all, byte) => all + byte, 0).toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  const zeros = Buffer.concat([block(0x10000, 1, false), Buffer.from([0])]);
  return Buffer.concat([Buffer.from(MAGIC), block(512, 0, false), header, ...Array(Math.ceil(bytes / 0x10000)).fill(zeros), block(0, 0, true)]);
}
