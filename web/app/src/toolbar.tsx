import { type Connection, type Viewer, colour, isAdmin, isHost, isWatcher, mayHost } from '@glasshouse/client';
import { useRoom } from '@glasshouse/react';
import type { ReactElement, RefObject } from 'react';
import { Icon, type IconName } from './icons.tsx';

export type PanelName = 'people' | 'chat' | 'clipboard' | 'settings' | 'stats';

interface ToolbarProps {
  connection: Connection;
  consoleUrl: string | null;
  viewer: Viewer | null;
  page: RefObject<HTMLDivElement | null>;
  shown: boolean;
  panel: PanelName | null;
  unread: number;
  volume: number;
  onVolume: (volume: number) => void;
  onPanel: (panel: PanelName | null) => void;
  onTouched: () => void;
}

/** The slim bar at the top; it hides by itself, and a small tab brings it back. */
export function Toolbar({ connection, consoleUrl, viewer, page, shown, panel, unread, volume, onVolume, onPanel, onTouched }: ToolbarProps): ReactElement {
  const room = useRoom(connection);
  const members = [...room.members.values()].filter(({ state }) => state.is_connected);
  const tool = (name: PanelName, icon: IconName, label: string, badge = 0): ReactElement => (
    <button type="button" className="icon" aria-label={badge ? `${label}, ${badge} new` : label} title={label} aria-expanded={panel === name} onClick={() => onPanel(panel === name ? null : name)}>
      <Icon name={icon} />
      {badge > 0 && <span className="badge">{badge > 99 ? '99' : badge}</span>}
    </button>
  );
  return (
    <>
      <button type="button" className="tab" aria-label="Show the toolbar" hidden={shown} onClick={onTouched} />
      <div className={`toolbar${shown ? '' : ' away'}`} role="toolbar" aria-label="Session" onFocus={onTouched} onPointerMove={onTouched}>
        {consoleUrl && (
          <a className="icon" href={consoleUrl} aria-label="All sessions" title="All sessions">
            <Icon name="grid" />
          </a>
        )}
        <ControlButton connection={connection} />
        <div className="chips" aria-label={`${members.length} connected`}>
          {members.slice(0, 5).map(({ id, profile }) => (
            <span key={id} className={`chip${id === room.hostId ? ' host' : ''}${room.actors.has(id) ? ' program' : ''}`} style={{ background: colour(id) }} title={`${profile.name}${id === room.hostId ? ' (in control)' : ''}${room.actors.has(id) ? ' (a program)' : ''}`}>
              {room.actors.has(id) ? <Icon name="robot" /> : initials(profile.name)}
            </span>
          ))}
          {members.length > 5 && <span className="more">+{members.length - 5}</span>}
        </div>
        <span className="separator" />
        {tool('people', 'people', 'People', room.requests.length)}
        {tool('chat', 'chat', 'Chat', unread)}
        {!isWatcher(room) && tool('clipboard', 'clipboard', 'Clipboard')}
        {!isWatcher(room) && (
          <button type="button" className="icon touch-only" aria-label="Keyboard" title="Keyboard" onClick={() => viewer?.openKeyboard()}>
            <Icon name="keyboard" />
          </button>
        )}
        <button type="button" className="icon wide-only" aria-label={volume > 0 ? 'Mute' : 'Sound on'} title={volume > 0 ? 'Mute' : 'Sound on'} onClick={() => onVolume(volume > 0 ? 0 : 1)}>
          <Icon name={volume > 0 ? 'sound' : 'muted'} />
        </button>
        {tool('settings', 'settings', 'Settings')}
        <button type="button" className="icon wide-only" aria-label="Full screen" title="Full screen" onClick={() => void viewer?.fullscreen(page.current ?? undefined).catch(() => {})}>
          <Icon name="expand" />
        </button>
      </div>
    </>
  );
}

function ControlButton({ connection }: { connection: Connection }): ReactElement {
  const room = useRoom(connection);
  const host = room.hostId ? room.members.get(room.hostId) : undefined;
  const run = (promise: Promise<unknown>): void => void promise.catch(() => {});
  if (isHost(room)) {
    return (
      <button type="button" className="control mine" title="Let others take control" onClick={() => run(connection.api.releaseControl())}>
        <Icon name="hand" /> <span>Release</span>
      </button>
    );
  }
  if (isWatcher(room)) {
    return (
      <span className="watching" title="Your link lets you watch, not control">
        <Icon name="eye" /> <span>View only</span>
      </span>
    );
  }
  const admin = isAdmin(room);
  const label = host ? (admin ? 'Take control' : 'Ask for control') : 'Take control';
  return (
    <button
      type="button"
      className="control"
      disabled={!mayHost(room)}
      title={host ? `${host.profile.name} is in control` : mayHost(room) ? 'Nobody is in control' : 'Control is locked'}
      onClick={() => (host && admin ? run(connection.api.takeControl()) : void connection.send('control/request'))}
    >
      <Icon name="hand" /> <span>{label}</span>
    </button>
  );
}

function initials(name: string): string {
  const words = name.trim().split(/\s+/);
  const first = [...(words[0] ?? '')][0] ?? '?';
  const last = words.length > 1 ? ([...(words.at(-1) ?? '')][0] ?? '') : '';
  return (first + last).toUpperCase();
}
