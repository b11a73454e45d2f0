import { Connection, type Scaling, type Status, Viewer, type VideoChoice } from '@glasshouse/client';
import { type CSSProperties, type ReactElement, useEffect, useRef } from 'react';

export interface GlasshouseViewerProps {
  /** A connection of one's own; without it, `server` and `token` make one. */
  connection?: Connection;
  /** The address of the room, ending with a slash. */
  server?: string;
  /** A one-time token or a password. */
  token?: string;
  /** The name that the others see. */
  name?: string;
  options?: { scaling?: Scaling; volume?: number; video?: VideoChoice };
  onState?: (status: Status) => void;
  /** Called with the viewer once it is in the page, and with null when it goes. */
  onViewer?: (viewer: Viewer | null) => void;
  className?: string;
  style?: CSSProperties;
}

/** The picture of a room, with sound and input. It fills the element that it is put into. */
export function GlasshouseViewer({ connection, server, token, name = 'Guest', options, onState, onViewer, className, style }: GlasshouseViewerProps): ReactElement {
  const box = useRef<HTMLDivElement>(null);
  const viewer = useRef<Viewer | null>(null);
  const callbacks = useRef({ onState, onViewer });
  callbacks.current = { onState, onViewer };
  const scaling = options?.scaling ?? 'fit';
  const volume = options?.volume ?? 1;
  const video = useRef(options?.video);

  useEffect(() => {
    if (!box.current) return;
    const own = connection ? null : new Connection({ server: new URL(server ?? '.', document.baseURI), ...(video.current ? { video: video.current } : {}) });
    const used = connection ?? own;
    if (!used) return;
    const off = used.on('status', (status) => callbacks.current.onState?.(status));
    const made = new Viewer(used, box.current);
    viewer.current = made;
    callbacks.current.onViewer?.(made);
    if (own && token !== undefined) void own.login(name, token);
    return () => {
      off();
      viewer.current = null;
      callbacks.current.onViewer?.(null);
      made.close();
      own?.close();
    };
  }, [connection, server, token, name]);

  useEffect(() => {
    viewer.current?.setScaling(scaling);
  }, [scaling, connection, server, token, name]);
  useEffect(() => {
    viewer.current?.player.setVolume(volume);
  }, [volume, connection, server, token, name]);

  return <div ref={box} className={className} style={{ width: '100%', height: '100%', ...style }} />;
}
