import { takeToken } from '@glasshouse/client';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { Boundary } from '../boundary.tsx';
import { loadFleetToken, saveFleetToken } from '../fleet-pass.ts';
import { Console } from './console.tsx';
import '../base.css';
import './console.css';

// The console lives at its base path, whatever file name or query was asked for.
const base = new URL('.', location.href);
base.search = '';
base.hash = '';

// The printed link's token leaves the address bar before anything else happens.
const given = takeToken(location, history);
if (given) saveFleetToken(base, given);

const root = document.getElementById('root');
if (root) {
  createRoot(root).render(
    <StrictMode>
      <Boundary>
        <Console base={base} token={given ?? loadFleetToken(base)} />
      </Boundary>
    </StrictMode>,
  );
}
