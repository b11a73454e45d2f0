// The soak: sessions created, used in many ways and ended in more, several at once, while browsers, sessions and the server are
// killed; and nothing of them is left, nothing is lost in silence, and the server does not grow.

import { createServer } from 'node:http';
import { launch } from '../e2e/lib/viewer.mjs';
import { until } from '../e2e/lib/wait.mjs';
import { Place } from './place.mjs';
import { planOf } from './plan.mjs';
import { Server } from './server.mjs';
import { Soaked } from './sessions.mjs';

/** Parts of the run; after each, all sessions are over and what is left is looked at. */
const PARTS = 4;
/** Sessions that are started ahead. */
const POOL = 1;
/** Failures after which there is no point in going on. */
const MAX_FAILURES = 10;

const mean = (numbers) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;

export class Soak {
  failures = [];
  known = new Set();
  counts = {};
  refused = 0;
  ended = {};
  /** The server's resident memory in kB after each session that ended in its last life. */
  memory = [];

  constructor({ sessions, seed, atOnce = 4, log = () => {} }) {
    Object.assign(this, { seed, atOnce, log, plan: planOf(seed, sessions) });
  }

  count(what) { this.counts[what] = (this.counts[what] ?? 0) + 1; }

  /** The browser of all viewers. */
  browser() { return (this.launched ??= launch()); }

  async run() {
    const from = Date.now();
    this.site = createServer((_, response) => {
      response.setHeader('content-type', 'text/html');
      response.end('<!doctype html><title>soaked</title><p>soaked');
    });
    await new Promise((resolve) => { this.site.listen(0, '127.0.0.1', resolve); });
    this.page = `http://localhost:${this.site.address().port}/`;
    this.place = new Place();
    const options = ['--pool', `${POOL}`, '--creations-per-minute', '100000', '--creations-per-minute-and-token', '100000', '--session-memory', '200'];
    try {
      this.server = await Server.start(this.place, options, [`--expose=${this.site.address().port}`]);
      const { sessions } = this.plan;
      for (let part = 0; part < PARTS && this.failures.length < MAX_FAILURES; part += 1) {
        await this.part(sessions.slice(Math.floor((part * sessions.length) / PARTS), Math.floor(((part + 1) * sessions.length) / PARTS)));
        await this.check(`after part ${part + 1} of ${PARTS}`);
      }
      await this.finish();
    } catch (error) {
      this.failures.push(error.message);
    } finally {
      await this.launched?.then((browser) => browser.close());
      this.site.closeAllConnections();
      this.site.close();
      this.server?.close();
      this.place.close();
    }
    return this.report((Date.now() - from) / 1000);
  }

  /** Runs some sessions of the plan, several at once. */
  async part(sessions) {
    const kills = this.plan.kills.map((kill) => kill);
    let next = 0;
    const worker = async () => {
      while (next < sessions.length && this.failures.length < MAX_FAILURES) {
        const plan = sessions[next];
        next += 1;
        const due = kills.filter(({ before }) => before === plan.number);
        await Promise.all([this.one(plan), ...due.map(({ after }) => this.kill(after))]);
      }
    };
    await Promise.all(Array.from({ length: this.atOnce }, worker));
  }

  async one(plan) {
    const one = new Soaked(this, plan);
    try {
      const { state, reason } = await one.live();
      const what = `${state}: ${reason.replaceAll(/\d+/g, 'N')}`;
      this.ended[what] = (this.ended[what] ?? 0) + 1;
    } catch (error) {
      this.fail(`${error.message}${one.killed ? `, after ${one.killed} was killed` : ''}`);
      // What it was about is told; the rest of it must not be in the way of others.
      if (one.id) await one.call('DELETE').catch(() => {});
    }
    this.done = (this.done ?? 0) + 1;
    if (!this.killing) this.memory.push({ life: this.server.life, resident: this.server.usage().resident });
    if (this.done % Math.max(10, Math.floor(this.plan.sessions.length / 20)) === 0) {
      this.log(`${this.done} sessions, server ${Math.round(this.server.usage().resident / 1024)} MiB, ${this.server.takeovers.length} kills of it, ${this.failures.length} failures`);
    }
  }

  fail(message) {
    this.failures.push(message);
    this.log(`FAILED: ${message}`);
  }

  /** Kills the server a little later; one kill at a time. */
  async kill(after) {
    const before = this.killing ?? Promise.resolve();
    this.killing = before.then(async () => {
      await new Promise((resolve) => { setTimeout(resolve, after); });
      await this.server.kill();
    });
    const killing = this.killing;
    await killing;
    if (this.killing === killing) this.killing = undefined;
  }

  /** With all sessions over, only the server and what it starts ahead are left; and all that was created is accounted for. */
  async check(when) {
    const { server, place } = this;
    const stray = (await server.sessions()).filter(({ id }) => !this.known.has(id));
    for (const { id } of stray) {
      // Made by a request that the server's end cut off, and whose repetition made another: it is in the list, and ends as any.
      this.count('in the list though the answer was lost');
      await server.call('DELETE', `api/v1/sessions/${id}`);
    }
    await until(`the pool is full ${when}`, async () => await server.warm() === POOL);
    const seen = () => {
      const expected = server.expected();
      return {
        processes: place.processes().filter((pid) => !expected.has(pid)), sessions: server.fleet.directories().length - POOL,
        records: place.records().length - POOL, users: place.users().locked.length - POOL,
      };
    };
    const isClean = (left) => left.processes.length === 0 && left.sessions === 0 && left.records === 0 && left.users === 0;
    await until(`nothing is left ${when}`, () => isClean(seen())).catch((error) => this.fail(`${error.message}: ${JSON.stringify(seen())}`));
    const all = await server.sessions('creating,ready,frozen,terminated,failed');
    const states = new Map(all.map(({ id, state, reason }) => [id, { state, reason }]));
    for (const id of this.known) {
      const { state, reason } = states.get(id) ?? {};
      if (!['terminated', 'failed'].includes(state) || !reason) this.fail(`session ${id} is not accounted for ${when}: ${state}, ${reason}`);
    }
  }

  async finish() {
    const { server, place } = this;
    const used = server.usage();
    const code = await server.stop();
    if (code !== 0) this.fail(`the server ends with ${code}`);
    await until('nothing is left', () => Object.keys(place.left(server.fleet.state)).length === 0)
      .catch((error) => this.fail(`${error.message}: ${JSON.stringify(place.left(server.fleet.state))}`));
    this.users = place.users().seen;
    // A server that has done nothing yet shows what one takes by itself.
    await server.again();
    await until('the pool is full again', async () => await server.warm() === POOL);
    this.fresh = server.usage();
    this.used = used;
    await server.stop();
    // Some come and go with the threads that the runtime keeps for a while.
    if (used.descriptors > this.fresh.descriptors + 8) this.fail(`the server had ${used.descriptors} descriptors at its end, and ${this.fresh.descriptors} when new`);
  }

  report(seconds) {
    const last = this.memory.filter(({ life }) => life === this.memory.at(-1)?.life).map(({ resident }) => resident);
    const quarter = Math.floor(last.length / 4);
    const memory = quarter > 0 && { sessions: last.length, first_quarter_kB: Math.round(mean(last.slice(0, quarter))), last_quarter_kB: Math.round(mean(last.slice(-quarter))) };
    if (memory) memory.ratio = Number((memory.last_quarter_kB / memory.first_quarter_kB).toFixed(3));
    // Few sessions say little: what a server keeps of its first ones is bounded, but not nothing.
    if (memory && last.length >= 100 && memory.ratio > 1.25) this.fail(`the server's memory grew: ${JSON.stringify(memory)}`);
    const takeovers = this.server?.takeovers.map(Math.round) ?? [];
    return {
      seed: this.seed, sessions: this.done ?? 0, seconds: Math.round(seconds), ended: this.ended, uses: this.counts, refused_for_now: this.refused,
      server_kills: takeovers.length, longest_takeover_ms: Math.max(0, ...takeovers), memory, descriptors: { at_the_end: this.used?.descriptors, new: this.fresh?.descriptors },
      threads: { at_the_end: this.used?.threads, new: this.fresh?.threads }, user_ids_ever: this.users, events_lost: this.server?.lost ?? 0, failures: this.failures,
    };
  }
}
