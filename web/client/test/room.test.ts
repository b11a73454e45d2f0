import { describe, expect, it } from 'vitest';
import { colour } from '../src/colour.ts';
import { takeToken } from '../src/connection.ts';
import { preferStereo } from '../src/peer.ts';
import { type Profile, type ServerMessage, type SessionData, parseMessage } from '../src/protocol.ts';
import { type Room, emptyRoom, isHost, mayHost, reduce, takesControlByUse } from '../src/room.ts';

const profile = (name: string, more: Partial<Profile> = {}): Profile => ({
  name, is_admin: false, can_login: true, can_connect: true, can_watch: true, can_host: true, can_share_media: true, can_access_clipboard: true, sends_inactive_cursor: true,
  can_see_inactive_cursors: true, plugins: null, ...more,
});
const member = (id: string, more: Partial<Profile> = {}): SessionData => ({ id, profile: profile(id, more), state: { is_connected: true, is_watching: false } });
const settings = { private_mode: false, locked_logins: false, locked_controls: false, control_protection: false, implicit_hosting: false, inactive_cursors: true, merciful_reconnect: true, heartbeat_interval: 10, plugins: null };
const init: ServerMessage = {
  event: 'system/init',
  payload: {
    session_id: 'me', control_host: { id: '', has_host: false }, screen_size: { width: 1280, height: 720, rate: 60 }, sessions: { me: member('me'), ann: member('ann', { is_admin: true }) },
    settings, touch_events: false, screencast_enabled: false, webrtc: { videos: ['high', 'low'] },
  },
};
const after = (...messages: ServerMessage[]): Room => messages.reduce(reduce, emptyRoom);

describe('room', () => {
  it('begins with system/init', () => {
    const room = after(init);
    expect(room).toMatchObject({ selfId: 'me', hostId: null, screen: { width: 1280, height: 720 }, videos: ['high', 'low'] });
    expect([...room.members.keys()]).toEqual(['me', 'ann']);
    expect(takesControlByUse(room)).toBe(true);
  });
  it('follows control', () => {
    let room = after(init, { event: 'control/host', payload: { id: 'me', has_host: true, host_id: 'me' } }, { event: 'control/request', payload: { id: 'ann' } }, { event: 'control/request', payload: { id: 'ann' } });
    expect(isHost(room)).toBe(true);
    expect(room.requests).toEqual(['ann']);
    room = reduce(room, { event: 'control/host', payload: { id: 'me', has_host: true, host_id: 'ann' } });
    expect([isHost(room), room.hostId, room.requests, takesControlByUse(room)]).toEqual([false, 'ann', [], false]);
    room = reduce(room, { event: 'system/settings', payload: { id: 'ann', ...settings, implicit_hosting: true } });
    expect(takesControlByUse(room)).toBe(true);
    room = reduce(room, { event: 'system/settings', payload: { id: 'ann', ...settings, locked_controls: true } });
    expect(mayHost(room)).toBe(false);
    expect(mayHost({ ...room, selfId: 'ann' })).toBe(true);
    room = reduce(room, { event: 'control/host', payload: { id: 'ann', has_host: false } });
    expect(room.hostId).toBeNull();
  });
  it('follows members', () => {
    let room = after(init, { event: 'session/created', payload: member('bob') }, { event: 'session/profile', payload: { id: 'bob', ...profile('Bob') } }, { event: 'control/request', payload: { id: 'bob' } });
    expect(room.members.get('bob')?.profile.name).toBe('Bob');
    room = reduce(room, { event: 'session/state', payload: { id: 'bob', is_connected: false, is_watching: false } });
    expect(room.members.get('bob')?.state.is_connected).toBe(false);
    expect(room.requests).toEqual([]);
    room = reduce(room, { event: 'session/deleted', payload: { id: 'bob' } });
    expect(room.members.has('bob')).toBe(false);
    expect(reduce(room, { event: 'session/state', payload: { id: 'nobody', is_connected: true, is_watching: true } }).members).toBe(room.members);
  });
  it('follows programs, size and chat', () => {
    const room = after(
      init,
      { event: 'glasshouse/init', payload: { version: '1', codecs: ['vp8'], screen: { min: { width: 1, height: 1 }, max: { width: 2, height: 2 } }, programs: [{ name: 'app', state: 'running', detail: null }], has_audio: true } },
      { event: 'glasshouse/program', payload: { name: 'app', state: 'restarting', detail: 'exit 1' } },
      { event: 'screen/updated', payload: { id: 'me', width: 800, height: 600, rate: 60 } },
      { event: 'chat/message', payload: { id: 'ann', created: '', content: { text: 'hi' } } },
    );
    expect(room.programs).toEqual([{ name: 'app', state: 'restarting', detail: 'exit 1' }]);
    expect(room.screen).toEqual({ width: 800, height: 600 });
    expect(room.chat).toHaveLength(1);
  });
  it('stays the same for what it does not know', () => {
    const room = after(init);
    expect(reduce(room, { event: 'system/heartbeat', payload: undefined })).toBe(room);
    expect(reduce(room, parseMessage('{"event":"a/new/one","payload":{}}') as ServerMessage)).toBe(room);
  });
});

it('reads messages and refuses junk', () => {
  expect(parseMessage('{"event":"signal/close","payload":null}\n')).toEqual({ event: 'signal/close', payload: null });
  for (const junk of ['', '1', 'null', '[]', '{"event":3}', '{']) expect(parseMessage(junk)).toBeNull();
});

it('takes the token out of the address bar', () => {
  const replaced: string[] = [];
  const history = { state: null, replaceState: (_: unknown, __: string, url: string) => replaced.push(url) } as unknown as History;
  expect(takeToken({ hash: '#token=abc', pathname: '/s/1/', search: '?x' } as Location, history)).toBe('abc');
  expect(replaced).toEqual(['/s/1/?x']);
  expect(takeToken({ hash: '#else', pathname: '/', search: '' } as Location, history)).toBeNull();
  expect(replaced).toHaveLength(1);
});

it('asks for stereo in the line of Opus only, once', () => {
  const sdp = 'a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:102 H264/90000\r\na=fmtp:102 packetization-mode=1\r\n';
  const once = preferStereo(sdp);
  expect(once).toBe(sdp.replace('useinbandfec=1', 'useinbandfec=1;stereo=1'));
  expect(preferStereo(once)).toBe(once);
});

it('gives everyone a colour on which white text can be read', () => {
  const luminance = (r: number, g: number, b: number): number => {
    const [x, y, z] = [r, g, b].map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * (x ?? 0) + 0.7152 * (y ?? 0) + 0.0722 * (z ?? 0);
  };
  const seen = new Set<string>();
  for (let i = 0; i < 500; i++) {
    const text = colour(`member-${i}`);
    seen.add(text);
    const [h, s, l] = (text.match(/[\d.]+/g) ?? []).map(Number) as [number, number, number];
    const channel = (n: number): number => {
      const k = (n + h / 30) % 12;
      return l / 100 - (s / 100) * Math.min(l / 100, 1 - l / 100) * Math.max(-1, Math.min(k - 3, 9 - k, 1));
    };
    expect(1.05 / (luminance(channel(0), channel(8), channel(4)) + 0.05), text).toBeGreaterThanOrEqual(4.5);
  }
  expect(seen.size).toBeGreaterThan(200);
  expect(colour('ann')).toBe(colour('ann'));
});
