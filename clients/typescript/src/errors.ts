// What can go wrong.

/** A field of a request that cannot be used. */
export interface FieldError {
  field: string;
  message: string;
}

/** Anything that this package throws by itself. */
export class GlasshouseError extends Error {
  override name = 'GlasshouseError';
}

/** The server refused: a problem (RFC 9457). */
export class ProblemError extends GlasshouseError {
  override name = 'ProblemError';
  /** Kind of the problem, such as `urn:glasshouse:problem:invalid`. */
  readonly type: string;
  /** The status in words. */
  readonly title: string;
  /** The HTTP status. */
  readonly status: number;
  /** What was wrong, and what to do. */
  readonly detail: string;
  /** Fields of the request that cannot be used. */
  readonly errors: readonly FieldError[];
  /** After how many seconds to try again, if the server said so. */
  readonly retryAfter: number | undefined;

  constructor(request: string, status: number, body: Record<string, unknown>, retryAfter?: number) {
    const text = (key: string, otherwise: string): string => (typeof body[key] === 'string' ? body[key] : otherwise);
    const detail = text('detail', text('message', `the server answered ${status}`));
    const errors = Array.isArray(body.errors) ? (body.errors as FieldError[]) : [];
    const fields = errors.map(({ field, message }) => `${field}: ${message}`).join('; ');
    super(`${request}: ${detail}${fields && ` (${fields})`}`);
    this.type = text('type', 'about:blank');
    this.title = text('title', '');
    this.status = status;
    this.detail = detail;
    this.errors = errors;
    this.retryAfter = retryAfter;
  }

  /** The last part of the type: `invalid`, `full`, `not-found`, … */
  get kind(): string {
    return this.type.split(':').at(-1) ?? '';
  }
}

/** A session did not become ready. */
export class SessionError extends GlasshouseError {
  override name = 'SessionError';
}
