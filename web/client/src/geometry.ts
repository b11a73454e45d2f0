export interface Size {
  width: number;
  height: number;
}

export interface Rect extends Size {
  left: number;
  top: number;
}

/** `fit` scales the whole desktop into the viewer; `actual` shows one desktop pixel on one device pixel and scrolls. */
export type Scaling = 'fit' | 'actual';

/** Where the picture lies inside a viewer of `box` CSS pixels. `origin` is how far an `actual` picture is scrolled. */
export function place(box: Size, screen: Size, scaling: Scaling, pixelRatio: number, origin = { x: 0, y: 0 }): Rect {
  if (!screen.width || !screen.height) return { left: 0, top: 0, width: box.width, height: box.height };
  if (scaling === 'actual') {
    const width = screen.width / pixelRatio;
    const height = screen.height / pixelRatio;
    return {
      left: width <= box.width ? snap((box.width - width) / 2, pixelRatio) : -Math.min(Math.max(0, origin.x), width - box.width),
      top: height <= box.height ? snap((box.height - height) / 2, pixelRatio) : -Math.min(Math.max(0, origin.y), height - box.height),
      width,
      height,
    };
  }
  let scale = Math.min(box.width / screen.width, box.height / screen.height);
  // A scale within a pixel of exact would blur the whole picture for nothing.
  if (Math.abs(scale * pixelRatio - 1) * Math.max(screen.width, screen.height) < 1.5) scale = 1 / pixelRatio;
  const width = screen.width * scale;
  const height = screen.height * scale;
  return { left: snap((box.width - width) / 2, pixelRatio), top: snap((box.height - height) / 2, pixelRatio), width, height };
}

const snap = (value: number, pixelRatio: number): number => Math.round(value * pixelRatio) / pixelRatio;

/** The desktop pixel under a point of the viewer, clamped to the desktop; `inside` says whether it lies on the picture. */
export function toScreen(point: { x: number; y: number }, picture: Rect, screen: Size): { x: number; y: number; inside: boolean } {
  const x = ((point.x - picture.left) / picture.width) * screen.width;
  const y = ((point.y - picture.top) / picture.height) * screen.height;
  const clamp = (value: number, size: number): number => Math.max(0, Math.min(size - 1, Math.floor(value)));
  return {
    x: clamp(x, screen.width),
    y: clamp(y, screen.height),
    inside: x >= 0 && y >= 0 && x < screen.width && y < screen.height,
  };
}

/** The viewer's point over the middle of a desktop pixel. */
export function toViewer(point: { x: number; y: number }, picture: Rect, screen: Size): { x: number; y: number } {
  return {
    x: picture.left + ((point.x + 0.5) / screen.width) * picture.width,
    y: picture.top + ((point.y + 0.5) / screen.height) * picture.height,
  };
}
