import { type ReactElement, useCallback, useRef, useState } from 'react';
import { Icon } from './icons.tsx';

export interface Toast {
  id: number;
  text: string;
  /** A later one with the same key takes its place. */
  key?: string;
  action?: { label: string; run: () => void };
  /** Stays until it is answered. */
  lasting?: boolean;
}

const LIFE = 5000;

export function useToasts(): { toasts: Toast[]; show: (toast: Omit<Toast, 'id'>) => void; dismiss: (id: number) => void } {
  const [toasts, setToasts] = useState<Toast[]>([]);
  const next = useRef(1);
  const dismiss = useCallback((id: number) => setToasts((old) => old.filter((toast) => toast.id !== id)), []);
  const show = useCallback(
    (toast: Omit<Toast, 'id'>) => {
      const id = next.current++;
      setToasts((old) => [...old.filter(({ key }) => !key || key !== toast.key), { ...toast, id }].slice(-4));
      if (!toast.lasting) setTimeout(() => dismiss(id), LIFE);
    },
    [dismiss],
  );
  return { toasts, show, dismiss };
}

export function Toasts({ toasts, dismiss }: { toasts: Toast[]; dismiss: (id: number) => void }): ReactElement {
  return (
    <div className="toasts" role="log" aria-live="polite">
      {toasts.map(({ id, text, action }) => (
        <div className="toast" key={id}>
          <span>{text}</span>
          {action && (
            <button
              type="button"
              onClick={() => {
                action.run();
                dismiss(id);
              }}
            >
              {action.label}
            </button>
          )}
          <button type="button" className="icon" aria-label="Dismiss" onClick={() => dismiss(id)}>
            <Icon name="close" />
          </button>
        </div>
      ))}
    </div>
  );
}
