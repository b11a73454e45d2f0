import { type ReactElement, type ReactNode, useEffect, useId, useRef } from 'react';
import { Icon } from './icons.tsx';

/** A card at the side of the picture; on a phone it comes from below. */
export function Panel({ title, onClose, children, passive = false }: { title: string; onClose: () => void; children: ReactNode; passive?: boolean }): ReactElement {
  const id = useId();
  const box = useRef<HTMLElement>(null);
  useEffect(() => {
    if (!passive) box.current?.querySelector<HTMLElement>('[data-autofocus], button')?.focus();
  }, [passive]);
  return (
    <section className={`panel${passive ? ' passive' : ''}`} role="dialog" aria-labelledby={id} ref={box}>
      <header>
        <h2 id={id}>{title}</h2>
        <button type="button" className="icon" aria-label="Close" onClick={onClose}>
          <Icon name="close" />
        </button>
      </header>
      <div className="panel-body">{children}</div>
    </section>
  );
}
