import { colour } from './colour.ts';
import { type Rect, type Size, toViewer } from './geometry.ts';

const ARROW = 'M1 1 L1 15 L5 11.2 L7.6 17 L10 16 L7.4 10.4 L13 10 Z';
const ROBOT = 'M5 9h14v10H5zM12 9V5M9 13.500v1M15 13.500v1M2.500 12.500v3M21.500 12.500v3';
const SVG = 'http://www.w3.org/2000/svg';

/** How long a mark that somebody types stays after the last key. */
const TYPING = 1200;
/** A ripple takes its own time; this is only when it is surely over. */
const RIPPLE = 1000;

interface Shown {
  element: HTMLElement;
  x: number;
  y: number;
  /** Set while it types. */
  typing?: ReturnType<typeof setTimeout>;
}

/** Draws the pointers of others, with their names, and what programs do with theirs. */
export class Pointers {
  readonly element = document.createElement('div');
  readonly #shown = new Map<string, Shown>();
  #picture: Rect = { left: 0, top: 0, width: 1, height: 1 };
  #screen: Size = { width: 1, height: 1 };

  constructor() {
    this.element.className = 'gh-pointers';
    this.element.setAttribute('aria-hidden', 'true');
  }

  /** Shows a pointer at a place in screen pixels; x < 0 takes it away. */
  set(id: string, name: string, x: number, y: number, program = false): void {
    if (x < 0) return this.remove(id);
    let entry = this.#shown.get(id);
    if (!entry) {
      entry = { element: create(colour(id), program), x, y };
      this.element.append(entry.element);
      this.#shown.set(id, entry);
    }
    const label = entry.element.querySelector('.gh-name');
    if (label && label.textContent !== name) label.textContent = name;
    entry.x = x;
    entry.y = y;
    this.#put(entry);
  }

  /** A ring that grows at a place in screen pixels. */
  ripple(id: string, x: number, y: number): void {
    if (!this.#screen.width) return;
    const ring = document.createElement('div');
    ring.className = 'gh-ripple';
    ring.style.color = colour(id);
    const at = toViewer({ x, y }, this.#picture, this.#screen);
    ring.style.left = `${at.x}px`;
    ring.style.top = `${at.y}px`;
    this.element.append(ring);
    setTimeout(() => ring.remove(), RIPPLE);
  }

  /** Marks a pointer as one whose owner types, for a moment. */
  typing(id: string): void {
    const entry = this.#shown.get(id);
    if (!entry) return;
    clearTimeout(entry.typing);
    entry.element.classList.add('gh-typing');
    entry.typing = setTimeout(() => entry.element.classList.remove('gh-typing'), TYPING);
  }

  remove(id: string): void {
    clearTimeout(this.#shown.get(id)?.typing);
    this.#shown.get(id)?.element.remove();
    this.#shown.delete(id);
  }

  /** Keeps only those that `keep` says. */
  filter(keep: (id: string) => boolean): void {
    for (const id of [...this.#shown.keys()]) if (!keep(id)) this.remove(id);
  }

  layout(picture: Rect, screen: Size): void {
    this.#picture = picture;
    this.#screen = screen;
    for (const entry of this.#shown.values()) this.#put(entry);
  }

  #put(entry: { element: HTMLElement; x: number; y: number }): void {
    if (!this.#screen.width) return;
    const { x, y } = toViewer(entry, this.#picture, this.#screen);
    entry.element.style.transform = `translate(${x}px, ${y}px)`;
  }
}

function create(fill: string, program: boolean): HTMLElement {
  const element = document.createElement('div');
  element.className = 'gh-pointer';
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('width', '16');
  svg.setAttribute('height', '20');
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', ARROW);
  path.setAttribute('fill', fill);
  path.setAttribute('stroke', '#fff');
  path.setAttribute('stroke-width', '1.2');
  svg.append(path);
  const label = document.createElement('span');
  label.className = 'gh-label';
  label.style.background = fill;
  if (program) label.append(robot());
  const name = document.createElement('span');
  name.className = 'gh-name';
  const keys = document.createElement('span');
  keys.className = 'gh-keys';
  keys.append(...[0, 1, 2].map(() => document.createElement('i')));
  label.append(name, keys);
  element.append(svg, label);
  return element;
}

/** Tells a program from a person. */
function robot(): SVGElement {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', 'gh-robot');
  svg.setAttribute('viewBox', '0 0 24 24');
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', ROBOT);
  svg.append(path);
  return svg;
}
