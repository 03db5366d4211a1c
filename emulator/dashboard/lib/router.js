// Places are hashes: `#/device?id=d1&tab=twin`. A page gets the query as a plain object.
//
//   href('device', { id: 'd1' })          // '#/device?id=d1', for links
//   navigate('device', { id: 'd1' })      // go there
//   setParams({ tab: 'twin', q: null })   // remember in the address without loading the page anew

/** The place of the address: `{page, params}`. */
export function place(hash = location.hash) {
  const [path, query = ''] = hash.replace(/^#\/?/, '').split('?');
  return { page: path || 'overview', params: Object.fromEntries(new URLSearchParams(query)) };
}

/** The address of a page; empty parameters are left out. */
export function href(page, params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== '') query.set(name, value);
  }
  const text = query.toString();
  return `#/${page}${text ? `?${text}` : ''}`;
}

/** Goes to a page. */
export function navigate(page, params) {
  location.hash = href(page, params);
}

/** Changes parameters of the present place; the page stays as it is. */
export function setParams(changes) {
  const { page, params } = place();
  history.replaceState(null, '', href(page, { ...params, ...changes }));
}
