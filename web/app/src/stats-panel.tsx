import type { Connection, PlayerStats, ServerStats, Viewer } from '@glasshouse/client';
import { type ReactElement, useEffect, useState } from 'react';
import { Panel } from './panel.tsx';

export function StatsPanel({ connection, viewer, onClose }: { connection: Connection; viewer: Viewer; onClose: () => void }): ReactElement {
  const [client, setClient] = useState<PlayerStats | null>(null);
  const [server, setServer] = useState<ServerStats | null>(null);
  useEffect(() => {
    const ask = (): void => void connection.send('glasshouse/stats', { enabled: true });
    ask();
    const offs = [connection.on('stats', setServer), connection.on('status', (status) => status.state === 'live' && ask())];
    const read = (): void => {
      if (connection.peer) void viewer.player.stats(connection.peer.connection).then(setClient, () => {});
    };
    read();
    const timer = setInterval(read, 1000);
    return () => {
      clearInterval(timer);
      offs.forEach((off) => off());
      connection.send('glasshouse/stats', { enabled: false });
    };
  }, [connection, viewer]);
  const rows: [string, string][] = [
    ['Picture', client ? `${client.width}×${client.height}` : '–'],
    ['Frames', number(client?.fps, 0, '/s')],
    ['Dropped frames', client ? `${client.framesDropped} of ${client.framesDecoded}` : '–'],
    ['Bit rate', rate(client?.bitRate)],
    ['Estimate of the line', rate(server?.viewer?.estimate)],
    ['Loss', client ? `${(client.loss * 100).toFixed(1)} %` : '–'],
    ['Round trip', number(client?.roundTripMs ?? server?.viewer?.round_trip_ms, 1, 'ms')],
    ['Encode', number(server?.video?.encode_ms, 1, 'ms')],
    ['Decode', number(client?.decodeMs, 1, 'ms')],
    ['Waiting to be shown', number(client?.jitterBufferMs, 1, 'ms')],
    ['Codec', [client?.codec, server?.video?.quality].filter(Boolean).join(', ') || '–'],
    ['Decoder', client?.decoder ?? '–'],
    ['Path', [(client?.protocol ?? server?.viewer?.protocol)?.toUpperCase(), client?.candidate, client?.remote].filter(Boolean).join(' · ') || '–'],
  ];
  return (
    <Panel title="Statistics" onClose={onClose} passive>
      <dl className="stats">
        {rows.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </Panel>
  );
}

const number = (value: number | null | undefined, digits: number, unit: string): string => (value === null || value === undefined ? '–' : `${value.toFixed(digits)} ${unit}`);

function rate(value: number | null | undefined): string {
  if (value === null || value === undefined) return '–';
  return value >= 1e6 ? `${(value / 1e6).toFixed(1)} Mbit/s` : `${Math.round(value / 1000)} kbit/s`;
}
