// What differs between two states of a section of a twin, and when its properties were written.

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
const isOfTheHub = (name) => name === '$version' || name === '$metadata';

/** What became of each property: `{path, before, after}`, without what the hub adds itself. */
export function differences(before, after, path = '') {
  if (!isObject(before) || !isObject(after)) {
    return JSON.stringify(before) === JSON.stringify(after) ? [] : [{ path, before, after }];
  }
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...names].filter((name) => !isOfTheHub(name)).sort().flatMap((name) =>
    differences(before[name], after[name], path ? `${path}.${name}` : name));
}

/** A section of a twin without what the hub adds. */
export function withoutMetadata(section) {
  return Object.fromEntries(Object.entries(section).filter(([name]) => !isOfTheHub(name)));
}

/** When each property was written, `[path, {at, version}]`, out of a section's metadata. */
export function written(metadata, path = '') {
  const { $lastUpdated: at, $lastUpdatedVersion: version, ...rest } = metadata ?? {};
  const below = Object.entries(rest).filter(([, value]) => isObject(value))
    .flatMap(([name, value]) => written(value, path ? `${path}.${name}` : name));
  return path && at ? [[path, { at, version }], ...below] : below;
}
