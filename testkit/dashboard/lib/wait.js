// Waiting for what is bound to happen, with a limit.

/** Longest wait, in milliseconds. */
export const LIMIT = Number(process.env.DASHBOARD_LIMIT ?? 30_000);

/** What `promise` resolves with, or an error that names what was waited for. */
export function within(promise, what, limit = LIMIT) {
  let timer;
  const late = new Promise((_, refuse) => {
    timer = setTimeout(() => refuse(new Error(`waited ${limit} ms for ${what}`)), limit);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Asks `question` again and again until it answers something truthy, and answers that. */
export async function until(question, what, limit = LIMIT) {
  const deadline = Date.now() + limit;
  for (;;) {
    const answer = await question();
    if (answer) return answer;
    if (Date.now() > deadline) throw new Error(`waited ${limit} ms until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
