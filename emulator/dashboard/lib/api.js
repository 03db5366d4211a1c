// The control API and the hub's own REST.
//
//   await get('/info')                                   // below /_emulator, parsed JSON
//   await send('POST', '/clock/advance', { seconds: 60 })
//   const { body, headers, status } = await hub('GET', '/devices/d1', null, { 'If-Match': '*' })
//   await lines('/events?max=100')                       // JSON lines, as an array
// The last argument of each may be { signal }.
//
// A failure is an ApiError{status, code, message}; status 0 means that the emulator did not answer.
// 401 asks the person for the administrator's token and then tries again.

const ROOT = '/_emulator';

/** What the emulator refused, or `status` 0: it is not there. */
export class ApiError extends Error {
  constructor(status, code, message, body) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
    this.code = code;
    this.body = body;
  }
}

const hooks = { unauthorized: null, lost: () => {}, alive: () => {} };

/** The shell says what happens on 401, when nobody answers, and when somebody does. */
export function setHooks(given) {
  Object.assign(hooks, given);
}

/** GET below the control API. */
export async function get(path, { signal } = {}) {
  return (await request('GET', ROOT + path, null, {}, signal)).body;
}

/** GET of JSON lines, as an array. */
export async function lines(path, { signal } = {}) {
  const { body } = await request('GET', ROOT + path, null, { accept: 'application/x-ndjson' }, signal, true);
  return body.split('\n').filter(Boolean).map((line) => JSON.parse(line));
}

/** Any other request to the control API; `body` goes as JSON unless it is text. */
export async function send(method, path, body, headers, { signal } = {}) {
  return (await request(method, ROOT + path, body, headers, signal)).body;
}

/** The hub's own REST in the operator's name: `{body, headers, status}`. */
export function hub(method, path, body, headers, { signal } = {}) {
  return request(method, `${ROOT}/hub${path}`, body, headers, signal);
}

/** Whether a failure only means that the request was called off. */
export function isAbort(error) {
  return error?.name === 'AbortError';
}

async function request(method, path, body, headers = {}, signal = undefined, raw = false) {
  const init = { method, headers: { accept: 'application/json', ...headers }, signal };
  if (body !== null && body !== undefined) {
    const text = typeof body === 'string' || body instanceof Blob || ArrayBuffer.isView(body);
    init.body = text ? body : JSON.stringify(body);
    const typed = Object.keys(init.headers).some((name) => name.toLowerCase() === 'content-type');
    if (!typed) init.headers['content-type'] = 'application/json';
  }
  for (;;) {
    const response = await reach(path, init);
    if (response.status === 401 && hooks.unauthorized && !path.endsWith('/login')) {
      await hooks.unauthorized();
      continue;
    }
    const parsed = raw && response.ok ? await response.text() : await parse(response);
    if (!response.ok) throw refusal(response, parsed);
    return { body: parsed, headers: response.headers, status: response.status };
  }
}

async function reach(path, init) {
  try {
    const response = await fetch(path, init);
    hooks.alive();
    return response;
  } catch (error) {
    if (isAbort(error)) throw error;
    hooks.lost();
    throw new ApiError(0, 'Unreachable', 'The emulator does not answer.');
  }
}

async function parse(response) {
  const text = await response.text();
  if (!text) return null;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function refusal(response, body) {
  let message = body?.Message ?? body?.message ?? (typeof body === 'string' ? body : '');
  let code = body?.code ?? body?.errorCode ?? response.headers.get('iothub-errorcode');
  const coded = /^ErrorCode:\s*([A-Za-z]+)\s*;?\s*/.exec(message);
  if (coded) {
    code ??= coded[1];
    message = message.slice(coded[0].length) || coded[1];
  }
  if (message.startsWith('{')) {
    try {
      message = JSON.parse(message).message ?? message;
    } catch {
      // As it is.
    }
  }
  code ??= String(response.status);
  return new ApiError(response.status, code, message || response.statusText, body);
}
