// Files of a session, below the programs' HOME: relative paths begin there.

import type { FileEntry, Unpacked } from './generated/session.js';
import type { Room } from './room.js';

export class Files {
  readonly #room: Room;

  constructor(room: Room) {
    this.#room = room;
  }

  list(path = '.'): Promise<FileEntry[]> {
    return this.#room.json('GET', 'v1/fs/entries', { query: { path } });
  }

  stat(path: string): Promise<FileEntry> {
    return this.#room.json('GET', 'v1/fs/stat', { query: { path } });
  }

  async read(path: string): Promise<Uint8Array> {
    return new Uint8Array(await (await this.#room.ask('GET', 'v1/fs/file', { query: { path } })).arrayBuffer());
  }

  async readText(path: string): Promise<string> {
    return new TextDecoder().decode(await this.read(path));
  }

  /** Writes a file, which has its name when all of it has come. */
  async write(path: string, content: string | Uint8Array | ReadableStream<Uint8Array>): Promise<void> {
    const body = typeof content === 'string' ? new TextEncoder().encode(content) : content;
    await this.#room.ask('PUT', 'v1/fs/file', { query: { path }, body, headers: { 'content-type': 'application/octet-stream' } });
  }

  async mkdir(path: string): Promise<void> {
    await this.#room.ask('POST', 'v1/fs/mkdir', { query: { path } });
  }

  async move(from: string, to: string, { overwrite = false } = {}): Promise<void> {
    await this.#room.ask('POST', 'v1/fs/move', { json: { from, to, overwrite } });
  }

  async delete(path: string, { recursive = false } = {}): Promise<void> {
    await this.#room.ask('DELETE', 'v1/fs/entry', { query: { path, recursive } });
  }

  /** Unpacks a tar archive that is not compressed. */
  unpack(archive: Uint8Array, path = '.'): Promise<Unpacked> {
    return this.#room.json('POST', 'v1/fs/upload-batch', { query: { path }, body: archive, headers: { 'content-type': 'application/x-tar' } });
  }
}
