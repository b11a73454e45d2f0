// @vitest-environment happy-dom
import { EventStream } from '@glasshouse/client';
import { expect, test } from 'vitest';
import { address } from '../src/console/create-dialog.tsx';
import { bitRate, bytes, duration, percent, title } from '../src/console/format.ts';
import { readLink } from '../src/console/link.ts';
import { rates } from '../src/console/rates.ts';
import { type Document, groupsOf, put, valueOf } from '../src/console/schema.ts';
import { fleetOf, loadWay, setWay } from '../src/fleet-pass.ts';

test('numbers in few characters', () => {
  expect([0, 999, 1000, 9_940, 250_400_000, 1_250_000_000].map(bytes)).toEqual(['0 B', '999 B', '1.0 kB', '9.9 kB', '250 MB', '1.3 GB']);
  expect([0, 125, 150_000, 1_250_000].map(bitRate)).toEqual(['0', '1 kbit/s', '1.2 Mbit/s', '10 Mbit/s']);
  expect([0, 0.004, 0.12, 1.5].map(percent)).toEqual(['0 %', '0.4 %', '12 %', '150 %']);
  expect([-1, 59, 61, 3_600, 3_900, 200_000].map(duration)).toEqual(['0 s', '59 s', '1 min', '1 h', '1 h 5 min', '2 d']);
  expect(title({ id: 'abcdefghij', name: null, url: 'https://a.example/b' })).toBe('a.example');
  expect(title({ id: 'abcdefghij', name: null, url: 'about:blank' })).toBe('abcdefgh');
});

test('rates between two looks; a viewer that left is no negative traffic', () => {
  const usage = { cpu_seconds: 1, memory_bytes: 5, sent_bytes: 1000, viewers: 1 };
  expect(rates(null, { at: 0, usage }).cpu).toBeNull();
  const later = rates({ at: 0, usage }, { at: 2000, usage: { ...usage, cpu_seconds: 2, sent_bytes: 10 } });
  expect(later).toEqual({ cpu: 0.5, memory: 5, sent: 0, viewers: 1 });
  expect(rates({ at: 0, usage }, { at: 2000, usage: { ...usage, cpu_seconds: null } }).cpu).toBeNull();
});

test('events come in any pieces', () => {
  const stream = new EventStream();
  expect(stream.feed('id: 1\nevent: ses')).toEqual([]);
  expect(stream.feed('sion\ndata: {"a":1}\n\n:keep-alive\n\nevent: lost\r\ndata: 3\r\n\r\nid')).toEqual([
    { event: 'session', id: '1', data: '{"a":1}' },
    { event: 'message', id: null, data: '' },
    { event: 'lost', id: null, data: '3' },
  ]);
});

test('options from a description', () => {
  const document: Document = {
    components: {
      schemas: {
        Spec: {
          properties: {
            url: { type: 'string' },
            kind: { oneOf: [{ type: 'null' }, { $ref: '#/components/schemas/Kind' }], description: 'Which.' },
            rules: { type: 'object', properties: { allow: { type: 'array', items: { type: 'string' } }, odd: { type: 'array', items: { type: 'object' } } } },
          },
        },
        Kind: { type: 'string', enum: ['a', 'b'] },
      },
    },
  };
  const groups = groupsOf(document, 'Spec', ['url']);
  expect(groups.map(({ label, fields }) => [label, fields.map(({ path, kind }) => `${path}:${kind}`)])).toEqual([
    ['', ['kind:choice']],
    ['Rules', ['rules.allow:lines']],
  ]);
  const spec = {};
  const [kind, allow] = groups.flatMap(({ fields }) => fields);
  if (kind) put(spec, kind.path, valueOf(kind, 'a'));
  if (allow) put(spec, allow.path, valueOf(allow, ' x \n\ny'));
  expect(spec).toEqual({ kind: 'a', rules: { allow: ['x', 'y'] } });
});

test('addresses as people type them', () => {
  expect(['example.com', ' http://a/ ', 'about:blank', '', 'file:///x'].map(address)).toEqual(['https://example.com', 'http://a/', 'about:blank', '', 'file:///x']);
});

test('links that sign in once', () => {
  const id = 'a'.repeat(26);
  expect(readLink(`#token=gh_x&ticket=t&open=${id}`)).toEqual({ token: 'gh_x', ticket: 't', open: id });
  expect(readLink('#token=gh_x&ticket=t&open=//evil.example')?.open).toBeNull();
  expect(readLink('#token=gh_x')).toBeNull();
});

test('a room that is entered by another link forgets the membership that came by the first', () => {
  const room = `/s/${'a'.repeat(26)}/`;
  expect(fleetOf(new URL(`http://x/desk${room}`))?.base.pathname).toBe('/desk/');
  expect(fleetOf(new URL('http://x/'))).toBeNull();
  setWay(room, 'gh_one');
  sessionStorage.setItem(`glasshouse:${room}:session`, 'member');
  setWay(room, 'gh_one');
  expect(sessionStorage.getItem(`glasshouse:${room}:session`)).toBe('member');
  setWay(room, 'gh_two');
  expect([loadWay(room), sessionStorage.getItem(`glasshouse:${room}:session`)]).toEqual(['gh_two', null]);
});
