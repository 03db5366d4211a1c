// Work on many devices: a hundred at a time, with progress, and a list of what went wrong.

import { hub } from '../../lib/api.js';
import { Client, identityOf } from './client.js';

/** As many as the hub takes in one call. */
const BATCH = 100;
/** Requests for single identities that are under way together. */
const TOGETHER = 6;

/**
 * Takes `count` ids out of `ids` in batches and does `work` to each batch, until there are no more
 * or `signal` says stop. `work` answers the failures of its batch: `{id, why}`.
 */
export async function inBatches(ids, work, { signal, onProgress }) {
  const failed = [];
  let done = 0;
  const flush = async (batch) => {
    try {
      failed.push(...await work(batch));
    } catch (refused) {
      failed.push(...batch.map((id) => ({ id, why: refused.message })));
    }
    done += batch.length;
    onProgress(done, failed);
  };
  let batch = [];
  for await (const id of ids) {
    if (signal.aborted) return { done, failed };
    if (batch.push(id) === BATCH) await flush(batch.splice(0));
  }
  if (batch.length && !signal.aborted) await flush(batch);
  return { done, failed };
}

/** One call of the hub's bulk operation; answers the failures. */
export async function bulk(elements) {
  try {
    await hub('POST', '/devices', elements);
    return [];
  } catch (refused) {
    const errors = refused.body?.errors;
    if (!errors) throw refused;
    return errors.map(({ deviceId, errorStatus, errorCode }) => ({
      id: deviceId,
      why: `${errorCode} ${errorStatus}`,
    }));
  }
}

/** Deletes devices, whatever has become of them since. */
export const deleteAll = (ids) => bulk(ids.map((id) => ({ id, importMode: 'delete' })));

/** Lets devices connect, or keeps them out. The rest of their identities stays as it is. */
export async function setStatus(ids, status) {
  const failed = [];
  const found = [];
  for (let at = 0; at < ids.length; at += TOGETHER) {
    await Promise.all(ids.slice(at, at + TOGETHER).map(async (id) => {
      try {
        found.push(await identityOf(new Client(id)));
      } catch (refused) {
        failed.push({ id, why: refused.message });
      }
    }));
  }
  const elements = found.filter((identity) => identity.status !== status).map((identity) => ({
    ...identity,
    id: identity.deviceId,
    eTag: identity.etag,
    status,
    importMode: 'updateIfMatchETag',
  }));
  return failed.concat(elements.length ? await bulk(elements) : []);
}

/** The ids of a pattern: `{n}` counts, `{n:4}` with that many digits. */
export function* idsOf(pattern, first, count) {
  for (let n = first; n < first + count; n += 1) yield idOf(pattern, n);
}

/** One id of a pattern. */
export function idOf(pattern, n) {
  return pattern.replace(/\{n(?::(\d\d?))?\}/g, (_, width = 1) => String(n).padStart(width, '0'));
}
