import { Component, type ReactNode } from 'react';

/** Says so when a part of the page has failed, in place of an empty page. */
export class Boundary extends Component<{ children: ReactNode }, { failed: boolean }> {
  override state = { failed: false };

  static getDerivedStateFromError(): { failed: boolean } {
    return { failed: true };
  }

  override render(): ReactNode {
    if (!this.state.failed) return this.props.children;
    return (
      <main className="login" role="alert">
        <form>
          <p>This page has failed. Your session goes on.</p>
          <button type="button" className="primary" onClick={() => location.reload()}>
            Load again
          </button>
        </form>
      </main>
    );
  }
}
