import { describe, expect, it } from 'vitest';
import { place, toScreen, toViewer } from '../src/geometry.ts';
import { PointerQueue } from '../src/pointer-queue.ts';
import { FineWheel, Wheel } from '../src/wheel.ts';

describe('place', () => {
  const screen = { width: 1280, height: 720 };
  it('puts bars at the sides or above and below', () => {
    expect(place({ width: 1280, height: 800 }, screen, 'fit', 1)).toEqual({ left: 0, top: 40, width: 1280, height: 720 });
    expect(place({ width: 2000, height: 720 }, screen, 'fit', 1)).toEqual({ left: 360, top: 0, width: 1280, height: 720 });
    expect(place({ width: 640, height: 640 }, screen, 'fit', 1)).toEqual({ left: 0, top: 140, width: 640, height: 360 });
  });
  it('shows pixel for pixel when it nearly fits', () => {
    expect(place({ width: 1281, height: 721 }, screen, 'fit', 1)).toMatchObject({ width: 1280, height: 720 });
    expect(place({ width: 640.5, height: 360 }, screen, 'fit', 2)).toMatchObject({ width: 640, height: 360 });
  });
  it('1:1 centres what is smaller and scrolls what is larger', () => {
    expect(place({ width: 2000, height: 1000 }, screen, 'actual', 1)).toEqual({ left: 360, top: 140, width: 1280, height: 720 });
    expect(place({ width: 640, height: 360 }, screen, 'actual', 1, { x: 9999, y: 100 })).toEqual({ left: -640, top: -100, width: 1280, height: 720 });
    expect(place({ width: 640, height: 360 }, screen, 'actual', 2)).toMatchObject({ left: 0, top: 0, width: 640, height: 360 });
  });
  it('maps to desktop pixels and back', () => {
    const picture = place({ width: 640, height: 640 }, screen, 'fit', 1);
    expect(toScreen({ x: 0, y: 140 }, picture, screen)).toEqual({ x: 0, y: 0, inside: true });
    expect(toScreen({ x: 639.9, y: 499.9 }, picture, screen)).toEqual({ x: 1279, y: 719, inside: true });
    expect(toScreen({ x: 320, y: 20 }, picture, screen)).toEqual({ x: 640, y: 0, inside: false });
    for (const point of [{ x: 0, y: 0 }, { x: 777, y: 333 }, { x: 1279, y: 719 }]) expect(toScreen(toViewer(point, picture, screen), picture, screen)).toEqual({ ...point, inside: true });
  });
});

describe('wheel', () => {
  it('a notch is one click, opposite to the DOM', () => {
    for (const [delta, mode] of [[100, 0], [120, 0], [3, 1]] as const) expect(new Wheel().add(0, delta, mode, 0)).toEqual({ x: 0, y: -1 });
    expect(new Wheel().add(-240, 0, 0, 0)).toEqual({ x: 2, y: 0 });
  });
  it('adds up fine deltas without losing any', () => {
    const wheel = new Wheel();
    let clicks = 0;
    for (let i = 0; i < 100; i++) clicks += wheel.add(0, 7, 0, i * 16)?.y ?? 0;
    expect(clicks).toBe(-7);
  });
  it('turns back at once and forgets after a pause', () => {
    const wheel = new Wheel();
    wheel.add(0, 90, 0, 0);
    expect(wheel.add(0, -100, 0, 10)).toEqual({ x: 0, y: 1 });
    wheel.add(0, 90, 0, 1000);
    expect(wheel.add(0, 50, 0, 2000)).toBeNull();
  });
});

describe('fine wheel', () => {
  const turn = (deltaY: number, timeStamp: number, more = {}) => ({ deltaMode: 0, deltaX: 0, deltaY, timeStamp, ...more });
  it('takes what touchpads send, and no notches', () => {
    for (const deltaY of [3, -0.5, 40, 99]) expect(new FineWheel().takes(turn(deltaY, 0, { wheelDeltaY: -3 * deltaY }))).toBe(true);
    for (const deltaY of [100, -120, 240, 53, 80]) expect(new FineWheel().takes(turn(deltaY, 0, { wheelDeltaY: -Math.sign(deltaY) * 120 }))).toBe(false);
    expect(new FineWheel().takes(turn(3, 0, { deltaMode: 1 }))).toBe(false);
    expect(new FineWheel().takes(turn(0, 0, { deltaX: 7 }))).toBe(true);
  });
  it('takes what is as large as a notch only among others', () => {
    const wheel = new FineWheel();
    expect(wheel.takes(turn(30, 0))).toBe(true);
    expect(wheel.takes(turn(100, 16))).toBe(true);
    expect(wheel.takes(turn(100, 1000))).toBe(false);
  });
  it('loses no fraction', () => {
    const wheel = new FineWheel();
    const sum = { x: 0, y: 0 };
    for (let i = 0; i < 1000; i++) {
      const units = wheel.units(-1 / 3, 0.001, 'scroll');
      sum.x += units?.x ?? 0;
      sum.y += units?.y ?? 0;
    }
    expect(Math.abs(sum.x + 256000 / 3)).toBeLessThan(1);
    expect(Math.abs(sum.y - 256)).toBeLessThanOrEqual(1);
    expect(wheel.units(0.001, 0, 'pinch')).toBeNull();
  });
});

describe('pointer moves', () => {
  const setup = () => {
    const sent: string[] = [];
    const frames: (() => void)[] = [];
    let busy = false;
    const queue = new PointerQueue((x, y) => !busy && sent.push(`${x},${y}`) > 0, (callback) => frames.push(callback));
    return { sent, queue, frame: () => frames.splice(0).forEach((callback) => callback()), setBusy: (value: boolean) => (busy = value) };
  };
  it('go at once, then once a frame, the newest only', () => {
    const { sent, queue, frame } = setup();
    queue.move(1, 1);
    queue.move(2, 2);
    queue.move(3, 3);
    expect(sent).toEqual(['1,1']);
    frame();
    expect(sent).toEqual(['1,1', '3,3']);
    frame();
    queue.move(3, 3);
    expect(sent).toHaveLength(2);
  });
  it('go before a button', () => {
    const { sent, queue } = setup();
    queue.move(1, 1);
    queue.move(2, 2);
    queue.flush();
    expect(sent).toEqual(['1,1', '2,2']);
  });
  it('wait while the line is busy', () => {
    const { sent, queue, frame, setBusy } = setup();
    setBusy(true);
    queue.move(1, 1);
    frame();
    queue.move(5, 5);
    expect(sent).toEqual([]);
    setBusy(false);
    frame();
    expect(sent).toEqual(['5,5']);
  });
});
