import { colour } from './colour.ts';
import { type Rect, type Size, toViewer } from './geometry.ts';

const ARROW = 'M1 1 L1 15 L5 11.2 L7.6 17 L10 16 L7.4 10.4 L13 10 Z';
const SVG = 'http://www.w3.org/2000/svg';

/** Draws the pointers of others, with their names. */
export class Pointers {
  readonly element = document.createElement('div');
  readonly #shown = new Map<string, { element: HTMLElement; x: number; y: number }>();
  #picture: Rect = { left: 0, top: 0, width: 1, height: 1 };
  #screen: Size = { width: 1, height: 1 };

  constructor() {
    this.element.className = 'gh-pointers';
    this.element.setAttribute('aria-hidden', 'true');
  }

  /** Shows a pointer at a place in screen pixels; x < 0 takes it away. */
  set(id: string, name: string, x: number, y: number): void {
    if (x < 0) return this.remove(id);
    let entry = this.#shown.get(id);
    if (!entry) {
      entry = { element: create(colour(id)), x, y };
      this.element.append(entry.element);
      this.#shown.set(id, entry);
    }
    const label = entry.element.lastElementChild;
    if (label && label.textContent !== name) label.textContent = name;
    entry.x = x;
    entry.y = y;
    this.#put(entry);
  }

  remove(id: string): void {
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

function create(fill: string): HTMLElement {
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
  label.style.background = fill;
  element.append(svg, label);
  return element;
}
