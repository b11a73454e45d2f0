import type { Fleet, FleetSession } from '@glasshouse/client';
import { type MouseEvent, type ReactElement, memo, useRef } from 'react';
import { setWay } from '../fleet-pass.ts';
import { Icon, type IconName } from '../icons.tsx';
import { bitRate, bytes, duration, percent, title } from './format.ts';
import { isOver } from './store.ts';
import { useInView, useLook } from './watch.ts';

export type Action = 'freeze' | 'thaw' | 'share' | 'delete';

interface CardProps {
  fleet: Fleet;
  session: FleetSession;
  /** Milliseconds since 1970. */
  now: number;
  onAction: (action: Action, session: FleetSession) => void;
}

const stateNames = { creating: 'Starting', ready: 'Ready', frozen: 'Frozen', terminated: 'Ended', failed: 'Failed' } as const;

const seconds = (from: string, to: number): number => (to - Date.parse(from)) / 1000;

/** One session: its picture, how it is, and what can be done with it. */
export const Card = memo(function Card({ fleet, session, now, onAction }: CardProps): ReactElement {
  const box = useRef<HTMLLIElement>(null);
  const inView = useInView(box);
  const { picture, rates } = useLook(fleet, session, inView);
  const { id, state } = session;
  const over = isOver(state);
  const name = title(session);
  // A proxy may have put a path of its own before the session's.
  const room = new URL(`s/${id}/`, fleet.base);
  const viewers = rates?.viewers ?? session.connections;
  const idle = session.used_at && viewers === 0 ? seconds(session.used_at, now) : 0;

  // The room's page is entered with this tab's token, which no address has in it.
  const prepare = (event: MouseEvent): void => {
    setWay(room.pathname, fleet.token);
    if (event.button === 1 || event.ctrlKey || event.metaKey) {
      // A tab that has an opener gets a copy of this tab's storage; one that the browser opens by itself does not.
      event.preventDefault();
      open(room, '_blank');
    }
  };
  const tool = (action: Action, icon: IconName, label: string, danger = false): ReactElement => (
    <button type="button" className={`icon${danger ? ' danger' : ''}`} aria-label={`${label} ${name}`} title={label} onClick={() => onAction(action, session)}>
      <Icon name={icon} />
    </button>
  );
  const screen = (
    <>
      {picture ? <img src={picture} alt="" draggable={false} /> : <span className="no-picture">{state === 'creating' ? <span className="spinner" aria-hidden="true" /> : null}</span>}
      <span className={`state ${state}`}>{stateNames[state]}</span>
    </>
  );
  return (
    <li className={`card ${state}`} ref={box} data-session={id}>
      {over || state === 'creating' ? (
        <div className="screen">{screen}</div>
      ) : (
        <a className="screen" href={room.href} aria-label={`Open ${name}, ${stateNames[state].toLowerCase()}`} onClick={prepare} onAuxClick={(event) => event.button === 1 && prepare(event)}>
          {screen}
        </a>
      )}
      <div className="about">
        <h2 title={session.name ?? id}>{name}</h2>
        <p className="where" title={over ? (session.reason ?? '') : (session.url ?? '')}>
          {over ? session.reason : (session.url ?? (session.app === 'none' ? 'Empty desktop' : 'New tab'))}
        </p>
        <dl>
          <div>
            <dt>Age</dt>
            <dd title={idle > 60 ? `Not used for ${duration(idle)}` : undefined}>{duration(seconds(session.created_at, over && session.ended_at ? Date.parse(session.ended_at) : now))}</dd>
          </div>
          <div>
            <dt>Viewers</dt>
            <dd>{over ? '–' : viewers}</dd>
          </div>
          <div>
            <dt>CPU</dt>
            <dd>{state === 'frozen' ? '0 %' : over || rates?.cpu == null ? '–' : percent(rates.cpu)}</dd>
          </div>
          <div>
            <dt>Memory</dt>
            <dd>{over || rates?.memory == null ? '–' : bytes(rates.memory)}</dd>
          </div>
          <div>
            <dt>Traffic</dt>
            <dd>{over || rates?.sent == null ? (viewers === 0 && !over ? '0' : '–') : bitRate(rates.sent)}</dd>
          </div>
        </dl>
      </div>
      {!over && (
        <div className="actions" role="group" aria-label={`Actions for ${name}`}>
          {tool('share', 'share', 'Share')}
          {state === 'frozen' ? tool('thaw', 'play', 'Thaw') : state === 'ready' ? tool('freeze', 'freeze', 'Freeze') : null}
          {tool('delete', 'trash', 'Delete', true)}
        </div>
      )}
    </li>
  );
});
