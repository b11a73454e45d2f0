import { type Connection, colour } from '@glasshouse/client';
import { useRoom } from '@glasshouse/react';
import { type ReactElement, useEffect, useState } from 'react';
import { Icon } from './icons.tsx';

/** How long somebody counts as acting after what they did last. */
const LASTS = 2000;
/** A screen reader hears of the same program again only after so long. */
const SAID_AGAIN = 15_000;

/** Says which programs act: for eyes while they do, and in words for screen readers, not too often. */
export function Acting({ connection }: { connection: Connection }): ReactElement | null {
  const room = useRoom(connection);
  const [acting, setActing] = useState<readonly string[]>([]);
  const [said, setSaid] = useState('');

  useEffect(() => {
    const ends = new Map<string, ReturnType<typeof setTimeout>>();
    const told = new Map<string, number>();
    const acts = (id: string): void => {
      const member = connection.room.members.get(id);
      if (!member || !connection.room.actors.has(id)) return;
      clearTimeout(ends.get(id));
      ends.set(id, setTimeout(() => {
        ends.delete(id);
        setActing((now) => now.filter((other) => other !== id));
        // The same words are said again only if there were others in between.
        setSaid('');
      }, LASTS));
      setActing((now) => (now.includes(id) ? now : [...now, id]));
      const now = Date.now();
      if (now - (told.get(id) ?? -SAID_AGAIN) < SAID_AGAIN) return;
      told.set(id, now);
      setSaid(`${member.profile.name} is acting.`);
    };
    const off = connection.on('message', (message) => {
      if (message.event === 'glasshouse/acted') acts(message.payload.id);
      if (message.event === 'glasshouse/cursors') for (const { id, x } of message.payload) if (x >= 0) acts(id);
    });
    return () => {
      off();
      ends.forEach((timer) => clearTimeout(timer));
    };
  }, [connection]);

  const names = acting.flatMap((id) => {
    const member = room.members.get(id);
    return member ? [{ id, name: member.profile.name }] : [];
  });
  const first = names[0];
  return (
    <>
      {first && (
        <div className="acting" aria-hidden="true">
          <span className="robot" style={{ background: colour(first.id) }}>
            <Icon name="robot" />
          </span>
          <span>{names.length === 1 ? `${first.name} is acting` : `${names.length} programs are acting`}</span>
        </div>
      )}
      <div className="visually-hidden" aria-live="polite">
        {said}
      </div>
    </>
  );
}
