import { type Connection, type Scaling, isHost } from '@glasshouse/client';
import { useRoom } from '@glasshouse/react';
import { type ReactElement, useState } from 'react';
import { Panel } from './panel.tsx';
import { type Preferences, save } from './preferences.ts';
import type { PanelName } from './toolbar.tsx';

const QUALITIES = [
  ['auto', 'Automatic'],
  ['high', 'Sharp'],
  ['medium', 'Smooth'],
  ['low', 'Save data'],
] as const;

const CODECS: Record<string, string> = { vp8: 'VP8', vp9: 'VP9', h264: 'H.264' };

const LAYOUTS = [
  ['us', 'English (US)'], ['gb', 'English (UK)'], ['de', 'German'], ['fr', 'French'], ['es', 'Spanish'], ['it', 'Italian'], ['pt', 'Portuguese'], ['nl', 'Dutch'], ['se', 'Swedish'],
  ['no', 'Norwegian'], ['dk', 'Danish'], ['fi', 'Finnish'], ['pl', 'Polish'], ['cz', 'Czech'], ['ch', 'Swiss'], ['ru', 'Russian'], ['ua', 'Ukrainian'], ['tr', 'Turkish'], ['gr', 'Greek'], ['jp', 'Japanese'],
] as const;

interface SettingsProps {
  connection: Connection;
  preferences: Preferences;
  onChange: (next: Partial<Preferences>) => void;
  onClose: () => void;
  onPanel: (panel: PanelName) => void;
}

export function SettingsPanel({ connection, preferences, onChange, onClose, onPanel }: SettingsProps): ReactElement {
  const room = useRoom(connection);
  const [video, setVideo] = useState(connection.video);
  const choose = (next: Partial<typeof video>): void => {
    const value = { ...video, ...next };
    setVideo(value);
    save('video', value);
    connection.chooseVideo(value);
  };
  const host = isHost(room);
  const qualities = QUALITIES.filter(([id]) => id === 'auto' || room.videos.includes(id));
  const mac = /Mac/.test(navigator.platform);
  return (
    <Panel title="Settings" onClose={onClose}>
      <label className="field">
        Quality
        <select value={video.quality} onChange={(event) => choose({ quality: event.target.value })}>
          {qualities.map(([id, label]) => (
            <option key={id} value={id}>
              {label}
            </option>
          ))}
        </select>
      </label>
      <label className="field">
        Codec
        <select value={video.codec} onChange={(event) => choose({ codec: event.target.value })}>
          <option value="auto">Automatic</option>
          {(room.glasshouse?.codecs ?? []).map((codec) => (
            <option key={codec} value={codec}>
              {CODECS[codec] ?? codec}
            </option>
          ))}
        </select>
      </label>
      <label className="field">
        Picture
        <select value={preferences.scaling} onChange={(event) => onChange({ scaling: event.target.value as Scaling })}>
          <option value="fit">Fit</option>
          <option value="actual">1:1</option>
        </select>
      </label>
      <label className="field">
        Volume
        <input type="range" min={0} max={1} step={0.05} value={preferences.volume} onChange={(event) => onChange({ volume: Number(event.target.value) })} />
      </label>
      <label className="switch">
        <input type="checkbox" role="switch" checked={preferences.followWindow} onChange={(event) => onChange({ followWindow: event.target.checked })} />
        Resize desktop with my window
      </label>
      {preferences.followWindow && !host && <small>Takes effect while you are in control.</small>}
      <label className="switch">
        <input type="checkbox" role="switch" checked={preferences.askSound} onChange={(event) => onChange({ askSound: event.target.checked })} />
        Sound when a program asks for help
      </label>
      <label className="field">
        Keyboard layout
        <select defaultValue="" disabled={!host} onChange={(event) => event.target.value && void connection.api.setKeyboard(event.target.value, '').catch(() => {})}>
          <option value="">As it is</option>
          {LAYOUTS.map(([id, label]) => (
            <option key={id} value={id}>
              {label}
            </option>
          ))}
        </select>
      </label>
      {mac && (
        <label className="switch">
          <input type="checkbox" role="switch" checked={preferences.commandIsControl} onChange={(event) => onChange({ commandIsControl: event.target.checked })} />
          Command acts as Control
        </label>
      )}
      <div className="row">
        <button type="button" onClick={() => onPanel('stats')}>
          Statistics
        </button>
        <button type="button" onClick={() => void connection.logout()}>
          Leave
        </button>
      </div>
      <p className="hint">
        Keys go to the session while the picture has the focus. <kbd>Ctrl</kbd>+<kbd>Alt</kbd>+<kbd>Shift</kbd>+<kbd>Esc</kbd> gives them back to this page.
      </p>
      {room.glasshouse && <small className="hint">Glasshouse {room.glasshouse.version}</small>}
    </Panel>
  );
}
