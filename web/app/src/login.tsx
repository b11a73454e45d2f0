import type { Connection } from '@glasshouse/client';
import { type FormEvent, type ReactElement, useState } from 'react';
import { Mark } from './icons.tsx';
import { load, save } from './preferences.ts';

/** Asks for a name and a password. */
export function Login({ connection, error }: { connection: Connection; error: string | null }): ReactElement {
  const [name, setName] = useState(() => load('name', ''));
  const [password, setPassword] = useState('');
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    save('name', name.trim());
    void connection.login(name.trim(), password);
  };
  return (
    <main className="login">
      <form onSubmit={submit}>
        <h1>
          <Mark /> Glasshouse
        </h1>
        <p>Sign in to join the session, or open the link that you were given.</p>
        <label>
          Your name
          <input value={name} onChange={(event) => setName(event.target.value)} maxLength={64} required autoComplete="nickname" autoFocus />
        </label>
        <label>
          Password
          <input type="password" value={password} onChange={(event) => setPassword(event.target.value)} autoComplete="current-password" />
        </label>
        {error && (
          <p className="problem" role="alert">
            {error}
          </p>
        )}
        <button type="submit" className="primary">
          Join
        </button>
      </form>
    </main>
  );
}
