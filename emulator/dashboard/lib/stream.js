// Server-sent events that come back by themselves.
//
//   const live = stream('/events?from=latest', {
//     onData: (value, { id }) => …,      // each event without a name, parsed
//     onMissed: (count) => …,            // the server skipped so many for us
//     onState: (state) => …,             // 'connecting' | 'open' | 'waiting' | 'paused' | 'closed'
//     events: { skipped: (value) => … }, // other named events
//   });
//   live.close();
//
// The path may be a function of the last id seen (or null), for sources that go on at a cursor:
//   stream((last) => `/events?from=${last ?? 'latest'}`, …)
// While nobody sees the page, the stream rests ('paused') and goes on when somebody does; it stays
// with { background: true }. Browsers have six connections for each host: hold one stream a page.

import { get } from './api.js';

const REST_AFTER = 10_000;
const LONGEST_WAIT = 10_000;

/** Follows `path` below /_emulator until `close()`. */
export function stream(path, { onData, onMissed, onState, events = {}, background = false } = {}) {
  let source = null;
  let last = null;
  let wait = 500;
  let timer = 0;
  let closed = false;
  const state = (name) => onState?.(name);

  function open() {
    clearTimeout(timer);
    if (closed || source) return;
    state('connecting');
    const where = typeof path === 'function' ? path(last) : path;
    source = new EventSource(`/_emulator${where}`);
    source.onopen = () => {
      wait = 500;
      state('open');
    };
    source.onmessage = (event) => take(event, onData);
    const named = { missed: (value) => onMissed?.(value?.count ?? 0), ...events };
    for (const [name, handler] of Object.entries(named)) {
      source.addEventListener(name, (event) => take(event, handler));
    }
    source.onerror = () => again();
  }

  function take(event, handler) {
    if (event.lastEventId) last = event.lastEventId;
    if (!handler) return;
    let value;
    try {
      value = JSON.parse(event.data);
    } catch {
      return;
    }
    handler(value, { id: event.lastEventId });
  }

  // The browser's own retry would keep an old path; ours asks for what comes after the last event.
  function again() {
    drop();
    if (closed) return;
    state('waiting');
    timer = setTimeout(async () => {
      // Brings up the login, or the banner; both end in a successful request.
      await get('/clock').catch(() => {});
      open();
    }, wait);
    wait = Math.min(wait * 2, LONGEST_WAIT);
  }

  function drop() {
    source?.close();
    source = null;
  }

  function seen() {
    if (closed || background) return;
    clearTimeout(timer);
    if (!document.hidden) {
      open();
    } else if (source) {
      timer = setTimeout(() => {
        drop();
        state('paused');
      }, REST_AFTER);
    }
  }

  document.addEventListener('visibilitychange', seen);
  open();
  return {
    close() {
      closed = true;
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', seen);
      drop();
      state('closed');
    },
  };
}
