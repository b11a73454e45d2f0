import type { ReactElement } from 'react';
import { Mark } from './icons.tsx';

/** Says why a link leads nowhere. */
export function NoWay({ message, consoleUrl }: { message: string | null; consoleUrl: string | null }): ReactElement {
  return (
    <main className="login">
      <form>
        <h1>
          <Mark /> Glasshouse
        </h1>
        <p role="alert">{message ?? 'You have left this session.'}</p>
        {consoleUrl ? (
          <a className="button primary" href={consoleUrl}>
            All sessions
          </a>
        ) : (
          <button type="button" className="primary" onClick={() => location.reload()}>
            Try again
          </button>
        )}
      </form>
    </main>
  );
}
