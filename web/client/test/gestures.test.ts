import { beforeEach, expect, it } from 'vitest';
import { Gestures } from '../src/gestures.ts';

let seen: string[];
let timers: (() => void)[];
let gestures: Gestures;
beforeEach(() => {
  seen = [];
  timers = [];
  gestures = new Gestures(
    (gesture) => {
      if (gesture.type === 'move') seen.push(`move ${gesture.x},${gesture.y}`);
      if (gesture.type === 'button') seen.push(`${gesture.down ? 'down' : 'up'} ${gesture.button}`);
      if (gesture.type === 'scroll') seen.push(`scroll ${gesture.deltaX},${gesture.deltaY}`);
      if (gesture.type === 'zoom') seen.push(`zoom ${gesture.growth}`);
    },
    { setTimeout: (callback) => timers.push(callback), clearTimeout: (id) => void (timers[id - 1] = () => {}) },
  );
});
const wait = (): void => timers.splice(0).forEach((callback) => callback());

it('tap is a click', () => {
  gestures.start(1, 10, 20, 0);
  gestures.move(1, 12, 21);
  gestures.end(1, 80);
  expect(seen).toEqual(['move 10,20', 'down 1', 'up 1']);
});
it('double tap clicks twice at one place', () => {
  gestures.start(1, 10, 20, 0);
  gestures.end(1, 80);
  gestures.start(2, 25, 30, 200);
  gestures.end(2, 260);
  expect(seen).toEqual(['move 10,20', 'down 1', 'up 1', 'move 10,20', 'down 1', 'up 1']);
});
it('a moving finger drags', () => {
  gestures.start(1, 10, 20, 0);
  gestures.move(1, 60, 20);
  gestures.move(1, 90, 25);
  gestures.end(1, 400);
  expect(seen).toEqual(['move 10,20', 'down 1', 'move 60,20', 'move 90,25', 'up 1']);
});
it('a resting finger is a right click, and nothing more', () => {
  gestures.start(1, 10, 20, 0);
  wait();
  gestures.move(1, 90, 20);
  gestures.end(1, 900);
  expect(seen).toEqual(['move 10,20', 'down 3', 'up 3']);
});
it('two fingers scroll like the page moves under them', () => {
  gestures.start(1, 100, 100, 0);
  gestures.start(2, 200, 100, 10);
  gestures.move(1, 100, 70);
  gestures.move(2, 200, 70);
  gestures.end(1, 300);
  gestures.end(2, 310);
  expect(seen[0]).toBe('move 150,100');
  const total = seen.slice(1).map((text) => Number(text.split(',')[1])).reduce((a, b) => a + b, 0);
  expect(total).toBe(30);
  expect(seen.some((text) => text.startsWith('down'))).toBe(false);
});
it('pinch zooms in and out, by as much as the fingers do', () => {
  const growth = (): number => seen.flatMap((text) => (text.startsWith('zoom') ? [Number(text.slice(5))] : [])).reduce((a, b) => a + b, 0);
  gestures.start(1, 100, 100, 0);
  gestures.start(2, 200, 100, 10);
  gestures.move(1, 50, 100);
  gestures.move(2, 250, 100);
  expect(seen[0]).toBe('move 150,100');
  expect(growth()).toBeCloseTo(Math.log(2), 9);
  seen = [];
  gestures.move(1, 100, 100);
  gestures.move(2, 200, 100);
  expect(growth()).toBeCloseTo(-Math.log(2), 9);
});
it('tap with two or three fingers', () => {
  gestures.start(1, 100, 100, 0);
  gestures.start(2, 200, 100, 10);
  gestures.end(1, 80);
  gestures.end(2, 90);
  expect(seen).toEqual(['move 150,100', 'down 3', 'up 3']);
  seen = [];
  gestures.start(1, 100, 100, 1000);
  gestures.start(2, 200, 100, 1010);
  gestures.start(3, 300, 100, 1020);
  for (const id of [1, 2, 3]) gestures.end(id, 1080);
  expect(seen.slice(1)).toEqual(['down 2', 'up 2']);
});
it('a second finger or a cancel ends a drag', () => {
  gestures.start(1, 10, 20, 0);
  gestures.move(1, 60, 20);
  gestures.start(2, 100, 20, 50);
  expect(seen.at(-1)).toBe('up 1');
  gestures.cancel();
  gestures.start(3, 10, 20, 1000);
  gestures.move(3, 60, 20);
  gestures.cancel();
  expect(seen.filter((text) => text === 'up 1')).toHaveLength(2);
});
