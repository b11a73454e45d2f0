import { takeToken } from '@glasshouse/client';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { Boundary } from '../boundary.tsx';
import { loadFleetToken, saveFleetToken } from '../fleet-pass.ts';
import { Console } from './console.tsx';
import { readLink, signIn, takeRefusal } from './link.ts';
import '../base.css';
import './console.css';

// The console lives at its base path, whatever file name or query was asked for.
const base = new URL('.', location.href);
base.search = '';
base.hash = '';

// The printed link leaves the address bar before anything else happens.
const link = readLink(location.hash);
const given = takeToken(location, history);

function show(token: string | null, problem: string | null = null): void {
  const root = document.getElementById('root');
  if (!root) return;
  createRoot(root).render(
    <StrictMode>
      <Boundary>
        <Console base={base} token={token} problem={problem} />
      </Boundary>
    </StrictMode>,
  );
}

if (link) {
  signIn(base, link).then(
    (token) => {
      saveFleetToken(base, token);
      if (link.open) location.replace(new URL(`s/${link.open}/`, base));
      else show(token);
    },
    (error: unknown) => show(loadFleetToken(base), error instanceof Error ? error.message : String(error)),
  );
} else {
  if (given) saveFleetToken(base, given);
  show(given ?? loadFleetToken(base), takeRefusal(location, history));
}
