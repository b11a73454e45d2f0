import { type Connection, type Viewer, isHost, isWatcher, mayHost, takesControlByUse } from '@glasshouse/client';
import { GlasshouseViewer, useRoom, useStatus } from '@glasshouse/react';
import { type ReactElement, useCallback, useEffect, useRef, useState } from 'react';
import { Acting } from './acting.tsx';
import { AskBanner } from './ask-banner.tsx';
import { ChatPanel } from './chat-panel.tsx';
import { ClipboardPanel } from './clipboard-panel.tsx';
import { setDebugViewer } from './debug.ts';
import { useFollowWindow } from './follow-window.ts';
import { Icon } from './icons.tsx';
import { PeoplePanel } from './people-panel.tsx';
import { type Preferences, loadPreferences, save } from './preferences.ts';
import { SettingsPanel } from './settings-panel.tsx';
import { StatsPanel } from './stats-panel.tsx';
import { StatusOverlay } from './status-overlay.tsx';
import { Toasts, useToasts } from './toasts.tsx';
import { type PanelName, Toolbar } from './toolbar.tsx';

/** How long the toolbar stays after the pointer has left it. */
const HIDE_AFTER = 2500;

/** The picture with everything around it. */
export function RoomPage({ connection, consoleUrl = null }: { connection: Connection; consoleUrl?: string | null }): ReactElement {
  const room = useRoom(connection);
  const status = useStatus(connection);
  const [viewer, setViewer] = useState<Viewer | null>(null);
  const [panel, setPanel] = useState<PanelName | null>(null);
  const [blocked, setBlocked] = useState(false);
  const [preferences, setPreferences] = useState(loadPreferences);
  const [barShown, showBar] = useAutoHide(panel !== null || status.state !== 'live');
  const [unread, setUnread] = useState(0);
  const { toasts, show, dismiss } = useToasts();
  const page = useRef<HTMLDivElement>(null);
  const panelNow = useRef(panel);
  panelNow.current = panel;

  const change = useCallback((next: Partial<Preferences>): void => {
    setPreferences((old) => {
      const value = { ...old, ...next };
      save('preferences', value);
      return value;
    });
  }, []);

  const adopt = useCallback((value: Viewer | null): void => {
    setViewer(value);
    setDebugViewer(value);
  }, []);

  useEffect(() => {
    if (!viewer) return;
    viewer.keyboard.options = { ...viewer.keyboard.options, commandIsControl: preferences.commandIsControl };
  }, [viewer, preferences.commandIsControl]);

  useEffect(() => {
    if (!viewer) return;
    viewer.focus();
    setBlocked(viewer.player.blocked);
    const offs = [
      viewer.on('blocked', setBlocked),
      viewer.on('problem', (text) => show({ key: 'problem', text })),
      viewer.on('escape', () => {
        showBar();
        page.current?.querySelector<HTMLElement>('.toolbar button')?.focus();
      }),
      viewer.clipboard.on('text', ({ written }) => {
        if (!written) show({ text: 'Copied in the session.', action: { label: 'Show', run: () => setPanel('clipboard') } });
      }),
      viewer.clipboard.on('image', () => {
        show({ text: 'A picture was copied in the session.', action: { label: 'Take it', run: () => void viewer.clipboard.takeImage() } });
      }),
    ];
    return () => offs.forEach((off) => off());
  }, [viewer, show, showBar]);

  // Whoever comes first into a room without a host may simply begin.
  const live = status.state === 'live';
  const asked = useRef(false);
  useEffect(() => {
    if (!live) asked.current = false;
    else if (!asked.current && room.selfId) {
      asked.current = true;
      if (room.hostId === null && mayHost(room)) connection.send('control/request');
    }
  }, [live, room, connection]);

  useEffect(() => {
    const name = (id: string): string => connection.room.members.get(id)?.profile.name ?? 'Someone';
    const offs = [
      connection.on('message', (message) => {
        if (message.event === 'control/request') {
          const { id } = message.payload;
          show({ key: `request:${id}`, text: `${name(id)} asks for control.`, lasting: true, action: { label: 'Give', run: () => void connection.api.giveControl(id).catch(() => {}) } });
        }
        if (message.event === 'control/host') {
          const host = message.payload.has_host ? message.payload.host_id : undefined;
          if (host && host === connection.room.selfId) show({ key: 'control', text: 'You are in control.' });
          else if (host) show({ key: 'control', text: `${name(host)} is in control.` });
          else show({ key: 'control', text: 'Nobody is in control.' });
        }
        if (message.event === 'glasshouse/error') {
          const { event, message: text } = message.payload;
          show({ key: `error:${event}`, text: `${text.charAt(0).toUpperCase()}${text.slice(1)}.` });
        }
        if (message.event === 'glasshouse/limit') show({ key: `limit:${message.payload.name}`, text: `${message.payload.detail.charAt(0).toUpperCase()}${message.payload.detail.slice(1)}.` });
        if (message.event === 'chat/message' && message.payload.id !== connection.room.selfId && panelNow.current !== 'chat') {
          setUnread((count) => count + 1);
          show({ text: `${name(message.payload.id)}: ${message.payload.content.text.slice(0, 120)}`, action: { label: 'Reply', run: () => setPanel('chat') } });
        }
      }),
      connection.on('refused', () => {
        if (isWatcher(connection.room)) {
          show({ key: 'refused', text: 'You can watch only. Whoever gave you the link can give you one for control.' });
          return;
        }
        const { hostId } = connection.room;
        const who = hostId ? `${name(hostId)} is in control.` : 'Control is locked.';
        show({ key: 'refused', text: who, ...(hostId && mayHost(connection.room) ? { action: { label: 'Ask', run: () => void connection.send('control/request') } } : {}) });
      }),
    ];
    return () => offs.forEach((off) => off());
  }, [connection, show]);

  useFollowWindow(connection, viewer, preferences.followWindow && isHost(room) && live);

  const open = (name: PanelName | null): void => {
    setPanel(name);
    if (name === 'chat') setUnread(0);
    if (name === null) viewer?.focus();
  };
  // What needs a decision leaves nothing else to do.
  const over = status.state === 'asleep' || status.state === 'kicked' || status.state === 'ended';
  const troubled = room.programs.filter(({ state }) => state === 'restarting' || state === 'failed');

  return (
    <div
      className="room"
      ref={page}
      onPointerMove={(event) => {
        if (event.pointerType !== 'touch' && event.clientY < 56) showBar();
      }}
      onKeyDown={(event) => {
        if (event.key === 'Escape' && panel && !(event.target as HTMLElement).closest('.gh-viewer')) open(null);
      }}
    >
      <h1 className="visually-hidden">Glasshouse session</h1>
      <GlasshouseViewer connection={connection} options={{ scaling: preferences.scaling, volume: preferences.volume }} onViewer={adopt} className="stage" />
      <StatusOverlay connection={connection} status={status} consoleUrl={consoleUrl} />
      {isWatcher(room) && !over && !barShown && (
        <div className="view-only" role="status">
          <Icon name="eye" /> View only
        </div>
      )}
      {room.asleep && live && (
        <div className="banner" role="status">
          <span>The session is asleep. Click or type to wake it.</span>
        </div>
      )}
      {!room.asleep && troubled.length > 0 && (
        <div className="banner" role="status">
          {troubled.map(({ name, state, detail }) => (
            <span key={name}>
              {programName(name)} {state === 'failed' ? 'has failed' : 'is restarting'}
              {detail ? `: ${detail}` : '…'}
            </span>
          ))}
        </div>
      )}
      {blocked && live && (
        <button type="button" className="sound-hint" onClick={() => viewer?.focus()}>
          Click for sound
        </button>
      )}
      {!over && (
        <Toolbar
        connection={connection}
        consoleUrl={consoleUrl}
        viewer={viewer}
        page={page}
        shown={barShown}
        panel={panel}
        unread={unread}
        volume={preferences.volume}
        onVolume={(volume) => change({ volume })}
        onPanel={open}
        onTouched={showBar}
      />
      )}
      {panel === 'people' && <PeoplePanel connection={connection} onClose={() => open(null)} />}
      {panel === 'chat' && <ChatPanel connection={connection} onClose={() => open(null)} />}
      {panel === 'clipboard' && viewer && <ClipboardPanel connection={connection} viewer={viewer} onClose={() => open(null)} />}
      {panel === 'settings' && <SettingsPanel connection={connection} preferences={preferences} onChange={change} onClose={() => open(null)} onPanel={open} />}
      {panel === 'stats' && viewer && <StatsPanel connection={connection} viewer={viewer} onClose={() => open(null)} />}
      {live && <Acting connection={connection} />}
      {live && <AskBanner connection={connection} sound={preferences.askSound} />}
      <Toasts toasts={toasts} dismiss={dismiss} />
      <div className="visually-hidden" role="status">
        {live && (isWatcher(room) ? 'You can watch only.' : isHost(room) ? 'You are in control.' : takesControlByUse(room) ? 'Click the picture to take control.' : '')}
      </div>
    </div>
  );
}

function programName(name: string): string {
  return { 'x-server': 'The display', 'window-manager': 'The window manager', sound: 'Sound', app: 'The program' }[name] ?? name;
}

/** Shown for a while, or as long as `held`. */
function useAutoHide(held: boolean): [boolean, () => void] {
  const [shown, setShown] = useState(true);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const show = useCallback((): void => {
    setShown(true);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setShown(false), HIDE_AFTER);
  }, []);
  useEffect(() => {
    if (!held) show();
    return () => clearTimeout(timer.current);
  }, [held, show]);
  return [shown || held, show];
}
