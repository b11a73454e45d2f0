/** Larger pictures are refused as CSS cursors by browsers; then the cursor is drawn as an element. */
const LARGEST = 128;

export interface CursorImage {
  width: number;
  height: number;
  hotX: number;
  hotY: number;
  png: Uint8Array<ArrayBuffer>;
}

/**
 * The own pointer: the desktop's cursor as the browser's own, at the scale of the picture, so that it moves without delay and is never
 * drawn twice.
 */
export class Cursor {
  #image: CursorImage | null = null;
  #bitmap: ImageBitmap | null = null;
  #css = 'default';
  #version = 0;

  constructor(readonly surface: HTMLElement) {}

  /** Shows another cursor; pixels are the desktop's. */
  async set(image: CursorImage): Promise<void> {
    const version = ++this.#version;
    this.#image = image;
    if (image.width <= 1 && image.height <= 1) {
      this.#bitmap = null;
      this.#css = 'none';
      this.apply(true);
      return;
    }
    try {
      const bitmap = await createImageBitmap(new Blob([image.png], { type: 'image/png' }));
      if (version !== this.#version) return;
      this.#bitmap = bitmap;
      this.redraw();
    } catch {
      if (version !== this.#version) return;
      this.#css = 'default';
      this.apply(true);
    }
  }

  #shown = true;
  #scale = 1;

  /** Whether the pointer acts on the desktop; if not it looks as in the page. */
  apply(active = this.#shown): void {
    this.#shown = active;
    this.surface.style.cursor = active ? this.#css : 'default';
  }

  /** `scale`: CSS pixels for each desktop pixel. */
  setScale(scale: number): void {
    if (Math.abs(scale - this.#scale) < 0.01) return;
    this.#scale = scale;
    this.redraw();
  }

  redraw(): void {
    const image = this.#image;
    const bitmap = this.#bitmap;
    if (!image || !bitmap) return;
    const ratio = devicePixelRatio || 1;
    // A cursor scaled down with a small picture could not be seen any more.
    let scale = Math.max(this.#scale, Math.min(1, 16 / Math.max(image.width, image.height)));
    scale = Math.min(scale, LARGEST / Math.max(image.width, image.height));
    const width = Math.max(1, Math.round(image.width * scale));
    const height = Math.max(1, Math.round(image.height * scale));
    const canvas = document.createElement('canvas');
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext('2d');
    if (!context) return;
    context.imageSmoothingQuality = 'high';
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    const hotX = Math.min(width - 1, Math.round(image.hotX * scale));
    const hotY = Math.min(height - 1, Math.round(image.hotY * scale));
    const url = canvas.toDataURL();
    const set = `image-set(url("${url}") ${ratio}x) ${hotX} ${hotY}, default`;
    this.#css = CSS.supports('cursor', set) ? set : `url("${url}") ${hotX} ${hotY}, default`;
    this.apply();
  }
}
