import { type Connection, colour } from '@glasshouse/client';
import { useRoom } from '@glasshouse/react';
import { type FormEvent, type ReactElement, useEffect, useRef, useState } from 'react';
import { Panel } from './panel.tsx';

export function ChatPanel({ connection, onClose }: { connection: Connection; onClose: () => void }): ReactElement {
  const room = useRoom(connection);
  const [text, setText] = useState('');
  const end = useRef<HTMLDivElement>(null);
  useEffect(() => {
    // Newer browsers answer with a promise, which an effect must not return.
    void end.current?.scrollIntoView({ block: 'end' });
  }, [room.chat.length]);
  const send = (event: FormEvent): void => {
    event.preventDefault();
    if (text.trim() && connection.send('chat/message', { text: text.trim() })) setText('');
  };
  return (
    <Panel title="Chat" onClose={onClose}>
      <div className="chat" role="log" aria-live="polite">
        {room.chat.length === 0 && <p className="hint">Messages are seen by everyone here and are not kept.</p>}
        {room.chat.map((message, index) => (
          <p key={`${message.created}:${index}`}>
            <b style={{ '--who': colour(message.id) } as React.CSSProperties}>{room.members.get(message.id)?.profile.name ?? 'Someone'}</b> {message.content.text}
          </p>
        ))}
        <div ref={end} />
      </div>
      <form className="row" onSubmit={send}>
        <input data-autofocus value={text} onChange={(event) => setText(event.target.value)} maxLength={4096} placeholder="Message" aria-label="Message" disabled={!room.chatEnabled} />
        <button type="submit" disabled={!room.chatEnabled || !text.trim()}>
          Send
        </button>
      </form>
    </Panel>
  );
}
