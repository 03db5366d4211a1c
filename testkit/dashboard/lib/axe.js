// Accessibility, by axe-core's rules.

import assert from 'node:assert/strict';
import axeCore from 'axe-core';

/** Fails with one line for each thing that a person with a disability would stumble over. */
export async function axe(page, { include, disable = [] } = {}) {
  // Evaluated by the debugger's protocol, so that the page's content security policy stays as it is.
  await page.evaluate(axeCore.source);
  const found = await page.evaluate(
    async ([root, disabled]) => {
      const rules = Object.fromEntries(disabled.map((rule) => [rule, { enabled: false }]));
      const { violations } = await window.axe.run(root ?? document, {
        resultTypes: ['violations'],
        rules,
      });
      return violations.flatMap(({ id, help, nodes }) =>
        nodes.map((node) => `${id}: ${help}: ${node.target.flat().join(' ')}\n    ${node.html.slice(0, 200)}`
          + `\n    ${node.any.concat(node.all, node.none).map((check) => check.message).join('; ')}`),
      );
    },
    [include, disable],
  );
  assert.deepEqual(found, [], `axe found:\n${found.join('\n')}`);
}
