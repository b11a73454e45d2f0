import { ApiError, type Connection, type ProgramsMode, type Settings, colour, isAdmin, isHost, self } from '@glasshouse/client';
import { useRoom } from '@glasshouse/react';
import { type ReactElement, useState } from 'react';
import { Icon } from './icons.tsx';
import { MODES } from './modes.ts';
import { Panel } from './panel.tsx';
import { save } from './preferences.ts';

/** Who is here, who is in control, and what an admin may change about it. */
export function PeoplePanel({ connection, onClose }: { connection: Connection; onClose: () => void }): ReactElement {
  const room = useRoom(connection);
  const [problem, setProblem] = useState<string | null>(null);
  const admin = isAdmin(room);
  const host = isHost(room);
  const run = (promise: Promise<unknown>): void => {
    setProblem(null);
    promise.catch((error: unknown) => setProblem(error instanceof ApiError ? error.message : String(error)));
  };
  const members = [...room.members.values()]
    .filter(({ id, state }) => state.is_connected || id === room.selfId)
    .sort((a, b) => Number(b.id === room.hostId) - Number(a.id === room.hostId) || a.profile.name.localeCompare(b.profile.name));
  return (
    <Panel title={`People (${members.length})`} onClose={onClose}>
      <ul className="members">
        {members.map(({ id, profile }) => (
          <li key={id}>
            {room.actors.has(id) ? (
              <span className="robot" style={{ background: colour(id) }}>
                <Icon name="robot" />
              </span>
            ) : (
              <span className="dot" style={{ background: colour(id) }} />
            )}
            <span className="who">
              {id === room.selfId ? <OwnName connection={connection} name={self(room)?.profile.name ?? ''} /> : <span className="name">{profile.name || 'Unnamed'}</span>}
              <small>
                {[room.actors.has(id) && `program · ${way(room.actors.get(id))}`, id === room.selfId && 'you', id === room.hostId && 'in control', profile.is_admin && 'admin', room.requests.includes(id) && 'asks for control'].filter(Boolean).join(' · ')}
              </small>
            </span>
            {id !== room.selfId && (admin || host) && id !== room.hostId && profile.can_host && (
              <button type="button" onClick={() => run(connection.api.giveControl(id))}>
                Give control
              </button>
            )}
            {id !== room.selfId && admin && id === room.hostId && (
              <button type="button" onClick={() => run(connection.api.takeControl())}>
                Take back
              </button>
            )}
            {id !== room.selfId && admin && (
              <button type="button" className="danger" onClick={() => confirm(room.actors.has(id) ? `Remove ${profile.name}? Its connection is closed, and it cannot come back for a minute.` : `Remove ${profile.name}?`) && run(connection.api.removeMember(id))}>
                Remove
              </button>
            )}
          </li>
        ))}
      </ul>
      {(room.actors.size > 0 || room.mode !== 'together' || admin) && <Wheel mode={room.mode} admin={admin} set={(mode) => run(connection.api.setMode(mode))} />}
      {admin && room.settings && <Locks settings={room.settings} set={(settings) => run(connection.api.updateSettings(settings))} />}
      {admin && <Share connection={connection} onProblem={setProblem} />}
      {problem && (
        <p className="problem" role="alert">
          {problem}
        </p>
      )}
    </Panel>
  );
}

/** How a program came, for people. */
function way(name: string | undefined): string {
  return { cdp: 'DevTools', computer: 'computer use', mcp: 'MCP' }[name ?? ''] ?? name ?? '';
}

/** Who may act: for admins to choose, for others to know. */
function Wheel({ mode, admin, set }: { mode: ProgramsMode; admin: boolean; set: (mode: ProgramsMode) => void }): ReactElement {
  const what = MODES.find(([name]) => name === mode);
  return (
    <fieldset>
      <legend>Programs act</legend>
      {admin ? (
        <select aria-label="Programs act" value={mode} onChange={(event) => set(event.target.value as ProgramsMode)}>
          {MODES.map(([name, label]) => (
            <option key={name} value={name}>
              {label}
            </option>
          ))}
        </select>
      ) : (
        <span>{what?.[1]}</span>
      )}
      <small>{what?.[2]}</small>
    </fieldset>
  );
}

function OwnName({ connection, name }: { connection: Connection; name: string }): ReactElement {
  const rename = (value: string): void => {
    const next = value.trim();
    if (!next || next === name) return;
    save('name', next);
    void connection.api.rename(next).catch(() => {});
  };
  return (
    <input
      className="own-name"
      aria-label="Your name"
      key={name}
      defaultValue={name}
      maxLength={64}
      onBlur={(event) => rename(event.target.value)}
      onKeyDown={(event) => event.key === 'Enter' && event.currentTarget.blur()}
    />
  );
}

function Locks({ settings, set }: { settings: Settings; set: (settings: Partial<Settings>) => void }): ReactElement {
  const toggle = (name: 'locked_controls' | 'locked_logins' | 'implicit_hosting', label: string): ReactElement => (
    <label className="switch">
      <input type="checkbox" role="switch" checked={settings[name]} onChange={(event) => set({ [name]: event.target.checked })} />
      {label}
    </label>
  );
  return (
    <fieldset>
      <legend>Room</legend>
      {toggle('locked_controls', 'Only admins may control')}
      {toggle('locked_logins', 'Nobody new may join')}
      {toggle('implicit_hosting', 'Control goes to whoever clicks')}
    </fieldset>
  );
}

function Share({ connection, onProblem }: { connection: Connection; onProblem: (problem: string | null) => void }): ReactElement {
  const [admin, setAdmin] = useState(false);
  const [uses, setUses] = useState(1);
  const [link, setLink] = useState<{ url: string; expiresAt: string } | null>(null);
  const [copied, setCopied] = useState(false);
  const create = async (): Promise<void> => {
    onProblem(null);
    try {
      const made = await connection.api.createLink({ admin, expiresIn: 86_400, uses });
      setLink(made);
      setCopied(await navigator.clipboard.writeText(made.url).then(() => true, () => false));
    } catch (error) {
      onProblem(error instanceof ApiError ? error.message : String(error));
    }
  };
  return (
    <fieldset>
      <legend>Share</legend>
      <div className="row">
        <label>
          For
          <select value={uses} onChange={(event) => setUses(Number(event.target.value))}>
            <option value={1}>one person</option>
            <option value={10}>10 people</option>
            <option value={100}>100 people</option>
          </select>
        </label>
        <label className="switch">
          <input type="checkbox" role="switch" checked={admin} onChange={(event) => setAdmin(event.target.checked)} />
          as admin
        </label>
      </div>
      <button type="button" onClick={() => void create()}>
        Make and copy a link
      </button>
      {link && (
        <>
          <input readOnly value={link.url} aria-label="Link" onFocus={(event) => event.target.select()} />
          <small role="status">
            {copied ? 'Copied. ' : ''}Works until {new Date(link.expiresAt).toLocaleString()}.
          </small>
        </>
      )}
    </fieldset>
  );
}
