import type { Connection, Viewer } from '@glasshouse/client';
import { useEffect } from 'react';

/** Resizing a window by hand makes many sizes; only one that rests is sent. */
const SETTLE = 300;

/** Makes the desktop as large as the viewer, in device pixels. */
export function useFollowWindow(connection: Connection, viewer: Viewer | null, active: boolean): void {
  useEffect(() => {
    if (!viewer || !active) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const apply = (): void => {
      const ratio = devicePixelRatio || 1;
      const limits = connection.room.glasshouse?.screen;
      const fit = (value: number, low: number, high: number): number => Math.max(low, Math.min(high, Math.floor(value)));
      // Codecs work on pairs of pixels.
      const width = fit(viewer.element.clientWidth * ratio, limits?.min.width ?? 320, limits?.max.width ?? 3840) & ~1;
      const height = fit(viewer.element.clientHeight * ratio, limits?.min.height ?? 240, limits?.max.height ?? 2160) & ~1;
      const { screen } = connection.room;
      if (screen.width === width && screen.height === height) return;
      connection.send('glasshouse/resize', { width, height, scale: fit(ratio * 100, 100, 400) });
    };
    const later = (): void => {
      clearTimeout(timer);
      timer = setTimeout(apply, SETTLE);
    };
    const observer = new ResizeObserver(later);
    observer.observe(viewer.element);
    return () => {
      clearTimeout(timer);
      observer.disconnect();
    };
  }, [connection, viewer, active]);
}
