// What the way through the server costs a message of a session's WebSocket: the same message, there and back, through the server
// and straight to the session's own socket, in turns.

import { once } from 'node:events';
import WebSocket from 'ws';
import { sleep } from './process.mjs';
import { Server } from './server.mjs';
import { fixed, median, note } from './table.mjs';

/** Between messages, in milliseconds: a room takes so many of a member, and no more. */
const PACE = 4;

/** A member of a session's room who sends messages to themselves. */
class Member {
  static async join(address, token) {
    const member = new Member();
    member.socket = new WebSocket(`${address}api/ws?token=${token}`);
    await new Promise((resolve, reject) => {
      member.socket.on('error', reject);
      member.socket.on('message', (text) => {
        const { event, payload } = JSON.parse(text);
        if (event === 'system/init') { member.id = payload.session_id; resolve(); }
        if (event === 'send/unicast') member.arrived?.(performance.now());
      });
    });
    return member;
  }

  /** Milliseconds that one message takes there and back. */
  async trip() {
    const arrived = new Promise((resolve) => { this.arrived = resolve; });
    const from = performance.now();
    this.socket.send(JSON.stringify({ event: 'send/unicast', payload: { receiver: this.id, subject: 'trip', body: null } }));
    return (await arrived) - from;
  }

  async leave() {
    this.socket.close();
    await once(this.socket, 'close', { signal: AbortSignal.timeout(10_000) }).catch(() => {});
  }
}

export async function hop(pages, quick) {
  const server = new Server(), count = quick ? 500 : 5_000;
  await server.start(new URL(pages.url('static')).port, []);
  try {
    const { id } = await server.call('POST', 'api/v1/sessions?wait=60', { app: 'none', sound: false });
    const login = async () => {
      const { token } = await server.call('POST', `api/v1/sessions/${id}/links`, { admin: true });
      return (await server.call('POST', `s/${id}/api/login`, { username: 'bench', password: token })).token;
    };
    const through = await Member.join(`${server.url.replace(/^http/, 'ws')}s/${id}/`, await login());
    const straight = await Member.join(`ws+unix:${server.socketOf(id)}:/s/${id}/`, await login());
    const times = { through: [], straight: [] };
    for (let round = 0; round < count + 50; round += 1) {
      for (const [name, member] of [['through', through], ['straight', straight]]) {
        const took = await member.trip();
        // The first ones find nothing warm.
        if (round >= 50) times[name].push(took);
      }
      await sleep(PACE);
    }
    await Promise.all([through.leave(), straight.leave()]);
    const [a, b] = [median(times.through), median(times.straight)];
    // Each way of the two is a message.
    const cost = (a - b) / 2;
    note('fleet', `a message of a session's WebSocket there and back, straight to the session, p50 of ${count}`, `${fixed(b, 3)} ms`);
    note('fleet', 'what the server adds to a message', `+ ${fixed(cost, 3)} ms (there and back + ${fixed(a - b, 3)} ms)`, '+ ≤ 0.1 ms', cost <= 0.1);
    return { through: a, straight: b };
  } finally {
    await server.stop();
  }
}
